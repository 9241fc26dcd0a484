"""The commands, by name."""

import logging
import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from relocation.cli import (
    archives,
    claims,
    control,
    example,
    exporting,
    forgetting,
    handover,
    importing,
    keys,
    notices,
    numbers,
    planning,
    relocations,
    report,
    sealing,
    service,
    submitting,
    up,
)
from relocation.cli.output import VERBOSE, errors
from relocation.cli.server import on_server
from relocation.errors import MAX_REASON
from relocation.text import one_line


def _in_singular(name: str) -> str:
    return "organization" if name == "organizations" else name


app = typer.Typer(
    name="relocation",
    help="Move organizations from an export archive into another Sentry's database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"token_normalize_func": _in_singular},
    epilog="Exit codes: 0 done; 1 it cannot be done, it did not succeed, or doctor, scan or "
    "compare found something; 2 the command was not understood. With --json, standard output "
    "contains only JSON.",
)
_RELOCATE = "Relocate"
_CONTROL = "Control a relocation"
_FILES = "Work with files"
_SERVICE = "Run the service"

app.command(rich_help_panel=_RELOCATE)(submitting.submit)
app.command("list", rich_help_panel=_RELOCATE)(on_server(relocations.list_))
app.command(rich_help_panel=_RELOCATE)(on_server(relocations.show))
app.command(rich_help_panel=_RELOCATE)(on_server(report.report))
app.command(rich_help_panel=_RELOCATE)(on_server(handover.handover))
app.command(rich_help_panel=_CONTROL)(control.pause)
app.command(rich_help_panel=_CONTROL)(control.unpause)
app.command(rich_help_panel=_CONTROL)(control.cancel)
app.command(rich_help_panel=_CONTROL)(control.abort)
app.command(rich_help_panel=_CONTROL)(control.recover)
app.command(rich_help_panel=_CONTROL)(control.retry)
app.command(rich_help_panel=_CONTROL)(control.rollback)
app.command(rich_help_panel=_FILES)(archives.scan)
app.command(rich_help_panel=_FILES)(archives.compare)
app.command(rich_help_panel=_FILES)(on_server(planning.plan))
app.command(rich_help_panel=_FILES)(example.example)
app.command(rich_help_panel=_FILES)(exporting.export)
app.command("import", rich_help_panel=_FILES)(on_server(importing.import_))
app.command(rich_help_panel=_FILES)(sealing.encrypt)
app.command(rich_help_panel=_FILES)(sealing.decrypt)
app.command(rich_help_panel=_SERVICE)(up.up)
app.command(rich_help_panel=_SERVICE)(on_server(service.setup))
app.command(rich_help_panel=_SERVICE)(service.doctor)
app.command(rich_help_panel=_SERVICE)(on_server(service.sweep))
app.command(rich_help_panel=_SERVICE)(on_server(forgetting.forget))
app.command(rich_help_panel=_SERVICE)(service.inbox)
app.command(rich_help_panel=_SERVICE)(on_server(numbers.stats))
app.command(rich_help_panel=_SERVICE)(on_server(numbers.metrics))
app.command(rich_help_panel=_SERVICE)(service.demo)
app.add_typer(keys.app, name="keys", rich_help_panel=_SERVICE)
app.add_typer(notices.app, name="notices", rich_help_panel=_SERVICE)
app.add_typer(claims.app, name="claims", rich_help_panel=_SERVICE)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"relocation {version('relocation')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show full tracebacks, including Prefect's.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Move organizations from an export archive into another Sentry's database."""
    VERBOSE.debug = debug


def main() -> None:
    """Run the command line."""
    # Prefect's own chatter is no part of what a command says.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    # Without an address, Prefect would start a server that nobody asked for.
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    try:
        app()
    except Exception as err:  # noqa: BLE001 - the last to see it
        if VERBOSE.debug:
            traceback.print_exc()
        else:
            said = one_line(f"{type(err).__name__}: {err}", limit=MAX_REASON)
            errors.print(f"error: {said}", markup=False, soft_wrap=True)
            again = " ".join(["relocation --debug", *sys.argv[1:2], "..."])
            errors.print(f"See the full traceback: {again}", markup=False, soft_wrap=True)
        sys.exit(1)

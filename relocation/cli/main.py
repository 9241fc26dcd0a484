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

app = typer.Typer(
    name="relocation",
    help="Move organizations from an export archive into another Sentry's database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit codes: 0 done; 1 it cannot be done, it did not succeed, or doctor, scan or "
    "compare found something; 2 the command was not understood. With --json, standard output "
    "contains only JSON.",
)
app.add_typer(keys.app, name="keys")
app.add_typer(notices.app, name="notices")
app.add_typer(claims.app, name="claims")
app.command()(archives.scan)
app.command()(archives.compare)
app.command()(exporting.export)
app.command()(sealing.encrypt)
app.command()(sealing.decrypt)
app.command("import")(on_server(importing.import_))
app.command()(on_server(planning.plan))
app.command()(example.example)
app.command()(submitting.submit)
app.command("list")(on_server(relocations.list_))
app.command()(on_server(relocations.show))
app.command()(on_server(report.report))
app.command()(on_server(handover.handover))
app.command()(control.pause)
app.command()(control.unpause)
app.command()(control.cancel)
app.command()(control.abort)
app.command()(control.recover)
app.command()(control.retry)
app.command()(control.rollback)
app.command()(up.up)
app.command()(on_server(service.setup))
app.command()(service.inbox)
app.command()(service.doctor)
app.command()(on_server(numbers.stats))
app.command()(on_server(numbers.metrics))
app.command()(service.demo)


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

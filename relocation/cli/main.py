"""The commands, by name."""

import logging
import os

import typer

from relocation.cli import (
    archives,
    claims,
    control,
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
    up,
)

app = typer.Typer(
    name="relocation",
    help="Relocate organizations from an export archive into a destination database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit codes: 0 it is done; 1 it cannot be done, or did not succeed, or (doctor, scan, "
    "compare) something was found; 2 the command was not understood. With --json, standard output "
    "holds JSON alone.",
)
app.add_typer(keys.app, name="keys")
app.add_typer(notices.app, name="notices")
app.add_typer(claims.app, name="claims")
app.command()(archives.scan)
app.command()(archives.compare)
app.command()(exporting.export)
app.command()(sealing.encrypt)
app.command()(sealing.decrypt)
app.command("import")(importing.import_)
app.command()(planning.plan)
app.command()(relocations.submit)
app.command("list")(relocations.list_)
app.command()(relocations.show)
app.command()(report.report)
app.command()(handover.handover)
app.command()(control.pause)
app.command()(control.unpause)
app.command()(control.cancel)
app.command()(control.abort)
app.command()(control.recover)
app.command()(control.retry)
app.command()(control.rollback)
app.command()(up.up)
app.command()(service.setup)
app.command()(service.inbox)
app.command()(service.doctor)
app.command()(numbers.stats)
app.command()(numbers.metrics)
app.command()(service.demo)


def main() -> None:
    """Run the command line."""
    # Prefect's own chatter is no part of what a command says.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    app()

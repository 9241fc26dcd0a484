"""The hand-over kit of a relocation, for whoever uses what was moved."""

from pathlib import Path
from typing import Annotated

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, out, plain_errors, print_json
from relocation.errors import CommandError
from relocation.notices.handover_kit import kit_files
from relocation.settings import Settings
from relocation.steps import Task


def handover(
    relocation_id: Id,
    folder: Annotated[
        Path,
        typer.Option("--to", metavar="DIR", file_okay=False, help="The folder to write into."),
    ] = Path("handover"),
    as_json: AsJson = False,
) -> None:
    """Write the files an owner needs after a success: new DSNs and names, and maps for a proxy.

    With the maps for nginx or Caddy, applications can keep their old DSNs. With --json, the facts
    are printed and no file is written.

    Example: relocation handover ID --to acme
    """
    from relocation.ledger.outbox import FORGOTTEN  # noqa: PLC0415
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415
    from relocation.ledger.reports import reports_of  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        ledger = load_ledger(Settings())
        relocation_id = full_id(ledger, relocation_id)
        one = get_relocation(ledger, relocation_id)
        facts = reports_of(ledger, relocation_id).get(Task.COMPLETE)
        if one.forgotten_at is not None:
            raise CommandError(FORGOTTEN)
        if facts is None:
            raise CommandError(f"There is nothing to hand over: this relocation is {one.status}.")
        if as_json:
            print_json(facts)
            return
        folder.mkdir(parents=True, exist_ok=True)
        files = kit_files(facts)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
    out.print(f"Wrote {', '.join(files)} to {folder}.", markup=False, soft_wrap=True)

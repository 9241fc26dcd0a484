"""Forget a person who asks for it."""

from typing import Annotated

import typer

from relocation.cli.output import AsJson, out, plain_errors, print_json, print_table
from relocation.settings import Settings
from relocation.text import counted

_KEPT = (
    "Not touched: what was imported, archives, flow runs in Prefect, logs and backups. Hashes "
    "stay, so that nobody is emailed twice, and so do undelivered emails to others."
)


def forget(
    user: Annotated[str, typer.Argument(help="A username or an email address.")],
    as_json: AsJson = False,
) -> None:
    """Remove a person from all relocations that ended: names, addresses, emails, findings.

    The numbers stay. Relocations that can still be resumed or rolled back are left as they are, and
    named. It refuses while a relocation that names the person is running or has unsent emails.

    Example: relocation forget olivia
    """
    from relocation.database import database_now  # noqa: PLC0415
    from relocation.ledger.person import forget_person  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        ledger = load_ledger(Settings())
        done = forget_person(ledger, user, database_now(ledger))
    if as_json:
        print_json({"forgotten": done.relocations, "kept": done.kept})
        return
    out.print(f"Forgotten in {counted(len(done.relocations), 'relocation')}.", soft_wrap=True)
    if done.kept:
        print_table(("still named in", "because"), list(done.kept.items()))
    out.print(_KEPT, soft_wrap=True)

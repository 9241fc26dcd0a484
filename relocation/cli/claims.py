"""The links by which imported users claim their accounts."""

from typing import Annotated

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, out, plain_errors, print_json, print_table
from relocation.cli.server import reach_server
from relocation.settings import Settings
from relocation.text import counted

app = typer.Typer(
    help="Send imported users a new link to claim their account.", no_args_is_help=True
)


@app.command()
def renew(
    relocation_id: Id,
    user: Annotated[
        str | None, typer.Option("--user", help="Only this user, by username in the destination.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Email users of a relocation a new link if their last one was lost or has expired.

    Only users whose account this relocation created get one, at the imported address, if they
    have not claimed it, have never logged in and have no privileges. Working links stay valid.
    """
    reach_server()
    from relocation.prefect_api.context import recovery_context, token_renewal  # noqa: PLC0415 - imports Prefect: seconds
    from relocation.recovery.claims import renew_claims  # noqa: PLC0415

    with plain_errors():
        context = recovery_context(Settings())
        relocation_id = full_id(context.ledger, relocation_id)
        report = renew_claims(context, token_renewal(context.settings), relocation_id, user)
    if as_json:
        print_json({"id": relocation_id, "renewed": report.renewed, "refused": report.refused})
        return
    out.print(f"The next sweep emails {counted(report.renewed, 'new link')}.", soft_wrap=True)
    if report.refused:
        print_table(("no new link for", "because"), sorted(report.refused.items()))

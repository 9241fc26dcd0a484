"""Look at the notices, and send again what did not arrive."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json
from relocation.cli.server import reach_server
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeKind
from relocation.notices.preview import build_previews, write_previews
from relocation.notices.rendering import load_templates
from relocation.notices.wire import wire_bytes
from relocation.settings import Settings
from relocation.text import counted

app = typer.Typer(help="See what the emails say, and send them again.", no_args_is_help=True)


@app.command()
def preview(
    kind: Annotated[
        NoticeKind | None,
        typer.Argument(help="Write only this kind.", case_sensitive=False),
    ] = None,
    to: Annotated[
        Path, typer.Option(help="Folder to write to; existing files are replaced.")
    ] = Path(".relocation/preview"),
    send: Annotated[
        str | None, typer.Option(help="Also send each to this address, through the mail block.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write every notice with sample data as .eml, .html and .txt, and a page to view them."""
    settings = Settings()
    with plain_errors():
        previews = list(
            build_previews(
                load_templates(settings.templates),
                Branding.of(settings),
                recipient=send or "reader@example.org",
                now=datetime.now(UTC),
                kind=kind,
            )
        )
        index = write_previews(to, previews)
        if send:
            _send(settings, send, [wire_bytes(one.message) for one in previews])
    if as_json:
        print_json({"written": len(previews), "page": index, "sent": len(previews) if send else 0})
        return
    out.print(f"Wrote {len(previews)} notices. Look at {index}", soft_wrap=True)
    if send:
        out.print(f"Sent {len(previews)} notices to {send}.", soft_wrap=True)


@app.command()
def resend(
    relocation_id: Id,
    as_json: AsJson = False,
) -> None:
    """Send a relocation's notices again if they were given up or may not have arrived."""
    reach_server()
    from relocation.ledger.outbox import notices_of, requeue  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        ledger = load_ledger(Settings())
        relocation_id = full_id(ledger, relocation_id)
        done = requeue(ledger, relocation_id, now=datetime.now(UTC))
        told = notices_of(ledger, relocation_id)
    if as_json:
        print_json({"id": relocation_id, "queued": done.queued, "without_link": done.without_link})
        return
    if done.queued:
        out.print(f"The next sweep sends {counted(done.queued, 'notice')}.", soft_wrap=True)
    elif not done.without_link:
        states = Counter(notice.state.lower() for notice in told)
        how = ", ".join(f"{number} {state}" for state, number in states.most_common())
        why = f"none was given up ({how})" if how else "it has none yet"
        out.print(f"Nothing to send again: {why}.", soft_wrap=True)
    if done.without_link:
        out.print(
            f"{counted(done.without_link, 'claim')} cannot be sent again, because links are not "
            f"kept. Send new ones: relocation claims renew {relocation_id}",
            soft_wrap=True,
        )


@app.command()
def hold(as_json: AsJson = False) -> None:
    """Hold emails back after you restored the ledger from a backup, so that nobody gets one twice.

    These are the emails that wait, and all further ones of relocations that have not ended. Send
    them with `relocation notices resend`, and links with `relocation claims renew`. Run it before
    you start any worker.
    """
    from relocation.ledger.restoring import hold_back  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        reach_server()
        done = hold_back(load_ledger(Settings()))
    if as_json:
        print_json({"held_back": done.notices, "open": done.open_relocations})
        return
    out.print(f"{counted(done.notices, 'email')} held back.", soft_wrap=True)
    for relocation_id in done.open_relocations:
        out.print(f"Resumes, but sends emails only when asked: {relocation_id}", soft_wrap=True)


def _send(settings: Settings, recipient: str, wires: list[bytes]) -> None:
    reach_server()
    from relocation.prefect_api.blocks import load_mail_server  # noqa: PLC0415 - imports Prefect: seconds

    with load_mail_server(settings).mailer(settings.sender_email) as mailer:
        for sent, wire in enumerate(wires):
            outcome = mailer.send(recipient, wire)
            if outcome.state != "sent":
                fail(f"{sent} of {len(wires)} notices were sent, then: {outcome.detail}")

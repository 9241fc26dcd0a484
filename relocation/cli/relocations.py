"""Submit relocations, list them, and tell their story."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relocation.cli.following import follow as to_its_end
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json, print_table
from relocation.cli.start_time import read_start
from relocation.errors import MAX_REASON, RelocationError
from relocation.plan import Plan, read_plan
from relocation.request import RelocationRequest, check_request
from relocation.settings import Settings
from relocation.steps import Status
from relocation.text import one_line

if TYPE_CHECKING:
    from relocation.ledger.outbox import Notice
    from relocation.ledger.story import Event
    from relocation.ledger.tries import Try
    from relocation.model import Relocation
    from relocation.transfer.load.mappings import MappingCount


def submit(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="The export archive."),
    ] = None,
    *,
    live: Annotated[
        bool,
        typer.Option("--live", help="Export from the live source instead: relocation-source."),
    ] = False,
    organization: Annotated[
        list[str],
        typer.Option("--organization", "-o", help="Slug of an organization to move; repeatable."),
    ],
    owner: Annotated[
        str, typer.Option(help="Username, in the destination, of who will own what is moved.")
    ],
    creator: Annotated[
        str | None, typer.Option(help="Username of who asks for this; the owner when left out.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="CSV that says which users become accounts that exist, and which slugs others.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Start then: 2026-03-01T22:00, with an offset like +01:00 or Z, too.",
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Time zone of --at, like Europe/Berlin; this machine's if none."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit code 1 unless it succeeds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload FILE to the relocation storage and start relocating organizations out of it.

    With --live there is no file: the organizations are exported when the relocation begins.

    Example: relocation submit acme.tar --organization acme --owner olivia
    """
    from relocation.prefect_api.blocks import load_storage  # noqa: PLC0415 - imports Prefect: seconds
    from relocation.prefect_api.flow_runs import submit as start  # noqa: PLC0415

    if live == (file is not None):
        fail("Give either a FILE or --live.", code=2)
    settings = Settings()
    # A key of its own: a second upload must not change an archive that is being relocated.
    key = f"archives/{secrets.token_hex(4)}-{file.name}" if file else ""
    with plain_errors():
        request = RelocationRequest(
            archive=key,
            source=settings.source_block if live else None,
            organizations=organization,
            owner=owner,
            creator=creator,
            plan=read_plan(plan) if plan else Plan(),
        )
        start_at = read_start(at, time_zone, datetime.now(UTC)) if at is not None else None
        check_request(request, settings)
        if file is not None:
            with file.open("rb") as archive:
                load_storage(settings).write_file(key, archive)
        relocation_id = start(request, at=start_at)
    if wait:
        if not as_json:
            out.print(f"Relocation {relocation_id} was submitted.", soft_wrap=True)
        show(relocation_id, follow=True, as_json=as_json)
        return
    if as_json:
        print_json({"id": relocation_id, "archive": key or None, "starts_at": start_at})
        return
    out.print(f"Relocation {relocation_id} was submitted.", soft_wrap=True)
    if start_at is not None:
        out.print(f"It starts at {start_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.", soft_wrap=True)
    out.print(f"Follow it with: relocation show {relocation_id}", soft_wrap=True)


def list_(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Show those that contain every word: in id, slugs or usernames."),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Show those of this status.")] = None,
    owner: Annotated[str | None, typer.Option(help="Show those of this owner.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List relocations, the newest first."""
    from relocation.ledger.relocations import list_relocations  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        found = list_relocations(
            load_ledger(Settings()), status=status, owner=owner, words=words or (), limit=limit
        )
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    print_table(
        ("id", "status", "step", "organizations", "owner", "opened (UTC)", "reason"),
        [
            (
                one.id,
                one.status,
                one.step.name,
                ", ".join(one.organizations),
                one.owner,
                f"{one.created_at:%Y-%m-%d %H:%M}",
                one.reason,
            )
            for one in found
        ],
    )


def show(
    relocation_id: Annotated[str, typer.Argument(help="The relocation's id: its flow run's id.")],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="First wait for its end; exit code 1 unless SUCCESS."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell the story of one relocation: its end, its tries, its mails, its internal error."""
    from relocation.ledger.outbox import notices_of  # noqa: PLC0415
    from relocation.ledger.relocations import find_relocation  # noqa: PLC0415
    from relocation.ledger.story import story_of  # noqa: PLC0415
    from relocation.ledger.tries import tries_of  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        ledger = load_ledger(Settings())
        find = to_its_end if follow else find_relocation
        one = find(ledger, relocation_id)
        if one is None:
            fail(f"there is no relocation {relocation_id}")
        tries, notices = tries_of(ledger, relocation_id), notices_of(ledger, relocation_id)
        story = story_of(ledger, relocation_id)
    mappings = _mappings(one)
    if as_json:
        print_json(
            {
                **_as_json(one),
                "mappings": asdict(mappings) if mappings else None,
                "story": [asdict(event) for event in story],
                "tries": [asdict(one_try) for one_try in tries],
                "notices": [_notice_as_json(notice) for notice in notices],
            }
        )
    else:
        _print_story(one, story, tries, notices)
        if mappings:
            what = "organizations and memberships were mapped by the product"
            out.print(f"\n{mappings.made} of {mappings.needed} {what}.", soft_wrap=True)
    if follow and one.status is not Status.SUCCESS:
        raise typer.Exit(1)


def _mappings(one: "Relocation") -> "MappingCount | None":
    """Count the product's mappings of what was moved, as far as the destination can be asked."""
    if one.status is not Status.SUCCESS:
        return None
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - seconds

    from relocation.prefect_api.blocks import load_destination  # noqa: PLC0415 - imports Prefect
    from relocation.transfer.load.ownership import mappings_of  # noqa: PLC0415 - seconds

    with suppress(RelocationError, SQLAlchemyError):
        return mappings_of(load_destination(Settings()), one.id)
    return None


def _print_story(
    one: "Relocation",
    story: Sequence["Event"],
    tries: Sequence["Try"],
    notices: Sequence["Notice"],
) -> None:
    asked = f"Relocation {one.id} of {', '.join(one.organizations)} for {one.owner}"
    out.print(one_line(asked, limit=MAX_REASON), markup=False, soft_wrap=True)
    out.print(f"{one.status} in {one.step.name}, round {one.round}")
    if one.reason:
        out.print(f"Reason: {one.reason}", markup=False, soft_wrap=True)
    for what, step in (("pauses", one.pause_before_step), ("is cancelled", one.cancel_before_step)):
        if step:
            out.print(f"It {what} before {step.name}.")
    out.print("\n[bold]Story[/bold]")
    print_table(
        ("when (UTC)", "round", "what", ""),
        [
            (f"{event.at:%Y-%m-%d %H:%M:%S}", event.round, event.what, event.detail)
            for event in story
        ],
    )
    out.print("\n[bold]Tries[/bold]")
    print_table(
        ("round", "task", "try", "began (UTC)", "seconds", "outcome", "worker"),
        [
            (
                one_try.round,
                one_try.task,
                one_try.number,
                f"{one_try.started_at:%Y-%m-%d %H:%M:%S}",
                _seconds(one_try),
                one_try.outcome or "running",
                one_try.worker,
            )
            for one_try in tries
        ],
    )
    out.print("\n[bold]Notices[/bold]")
    print_table(
        ("kind", "recipient", "state", "tries", "sent (UTC)", "reply"),
        [
            (
                notice.kind,
                notice.recipient,
                notice.state,
                notice.tries,
                f"{notice.sent_at:%Y-%m-%d %H:%M:%S}" if notice.sent_at else "",
                notice.reply,
            )
            for notice in notices
        ],
    )
    if one.internal_error:
        out.print("\n[bold]Internal error of the failed task[/bold]")
        out.print(one.internal_error, markup=False, soft_wrap=True)


def _seconds(one_try: "Try") -> str:
    if one_try.ended_at is None:
        return ""
    return f"{(one_try.ended_at - one_try.started_at).total_seconds():.1f}"


def _as_json(one: "Relocation") -> dict[str, Any]:
    return {**asdict(one), "step": one.step.name}


def _notice_as_json(notice: "Notice") -> dict[str, Any]:
    """Leave out what a notice says: a claim holds a token."""
    return {
        "kind": notice.kind,
        "recipient": notice.recipient,
        "state": notice.state,
        "round": notice.round,
        "tries": notice.tries,
        "message_id": notice.message_id,
        "sent_at": notice.sent_at,
        "reply": notice.reply,
    }

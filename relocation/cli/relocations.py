"""List relocations, and tell their story."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relocation.cli.following import follow as to_its_end
from relocation.cli.ids import Id, full_id
from relocation.cli.output import (
    VERBOSE,
    AsJson,
    errors,
    fail,
    out,
    plain_errors,
    print_json,
    print_table,
    say,
    without_frames_of_prefect,
)
from relocation.errors import MAX_REASON, RelocationError
from relocation.model import Relocation
from relocation.settings import Settings
from relocation.steps import Status
from relocation.text import counted, one_line

if TYPE_CHECKING:
    from relocation.ledger.history import HistoryEntry
    from relocation.ledger.outbox import Notice
    from relocation.ledger.tries import Try
    from relocation.prefect_api.awaited import Awaited
    from relocation.transfer.load.mappings import MappingCount

STATUSES = (*Status.__members__, "SCHEDULED", "WAITING")
"""The last two are of relocations that no worker has begun."""
_WIDE = 140
"""Columns of a terminal that has room for more than the most needed."""


def list_(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Only those that contain every word, in id, slugs or usernames."),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(metavar="STATUS", help=f"Only those with this status: {', '.join(STATUSES)}."),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this owner.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List relocations, newest first, including those that no worker has begun yet."""
    from relocation.ledger.relocations import known_ids, list_relocations  # noqa: PLC0415
    from relocation.prefect_api.awaited import awaited_runs  # noqa: PLC0415 - imports Prefect: seconds
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415

    wanted = status.upper() if status else None
    if wanted not in {None, *STATUSES}:
        fail(f'There is no status "{status}"; there are {", ".join(STATUSES)}.', code=2)
    with plain_errors():
        ledger = load_ledger(Settings())
        begun: list[Relocation] = []
        awaited: list[Awaited] = []
        if wanted is None or wanted in Status.__members__:
            by = Status[wanted] if wanted else None
            begun = list_relocations(ledger, status=by, owner=owner, words=words or (), limit=limit)
        if wanted not in Status.__members__:
            runs = awaited_runs()
            known = known_ids(ledger, [one.id for one in runs])
            awaited = [
                one
                for one in runs
                if one.id not in known
                and wanted in {None, one.status}
                and owner in {None, one.owner}
                and one.has(words or ())
            ]
    both: list[Relocation | Awaited] = [*awaited, *begun]
    found = sorted(both, key=lambda one: one.created_at, reverse=True)[:limit]
    if as_json:
        print_json([_as_json(one) for one in found])
    elif found:
        _print_list(found)
    else:
        errors.print(
            "Nothing found." if words or status or owner else "There are no relocations yet."
        )


def _print_list(found: "Sequence[Relocation | Awaited]") -> None:
    # Anything longer would fold the ids.
    narrow = _is_narrow()
    columns = ("id", "status", "opened (UTC)", "organizations")
    more = () if narrow else ("step", "owner", "reason")
    print_table(
        (*columns, *more),
        [
            (
                one.id,
                one.status,
                _time(one.created_at, "%H:%M"),
                ", ".join(one.organizations),
                *(() if narrow else _more(one)),
            )
            for one in found
        ],
        whole=("id", "status", "opened (UTC)"),
    )


def _more(one: "Relocation | Awaited") -> tuple[object, ...]:
    if isinstance(one, Relocation):
        return one.step.name, one.owner, one.reason
    starts = f"starts at {_minute(one.starts_at)}" if one.status == "SCHEDULED" else None
    return None, one.owner, starts


def show(
    relocation_id: Id,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Wait until it ends; exit code 1 unless it succeeds."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one relocation: its status, history, tries, emails and internal error."""
    from relocation.ledger.history import history_of  # noqa: PLC0415
    from relocation.ledger.outbox import notices_of  # noqa: PLC0415
    from relocation.ledger.relocations import find_relocation, unknown_relocation  # noqa: PLC0415
    from relocation.ledger.tries import tries_of  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        settings = Settings()
        ledger = load_ledger(settings)
        relocation_id = full_id(ledger, relocation_id)
        find = to_its_end if follow else find_relocation
        one = find(ledger, relocation_id)
        if one is None:
            if not _show_awaited(relocation_id, as_json=as_json):
                raise unknown_relocation(relocation_id)
            return
        tries, notices = tries_of(ledger, relocation_id), notices_of(ledger, relocation_id)
        history = history_of(ledger, relocation_id)
    mappings = _mappings(one, settings)
    if as_json:
        print_json(
            {
                **_as_json(one),
                "mappings": asdict(mappings) if mappings else None,
                "story": [asdict(event) for event in history],
                "tries": [asdict(one_try) for one_try in tries],
                "notices": [_notice_as_json(notice) for notice in notices],
            }
        )
    else:
        _print_history(one, history, tries, notices)
        if mappings:
            what = "organizations and memberships were mapped by the product"
            say(f"\n{mappings.made} of {mappings.needed} {what}.")
    if follow and one.status is not Status.SUCCESS:
        raise typer.Exit(1)


def _show_awaited(relocation_id: str, *, as_json: bool) -> bool:
    """Tell of a relocation that no worker has begun; False where there is none."""
    from relocation.prefect_api.awaited import SCHEDULED, awaited_runs  # noqa: PLC0415
    from relocation.prefect_api.pools import workers_online  # noqa: PLC0415

    one = next(iter(awaited_runs(relocation_id)), None)
    if one is None:
        return False
    settings = Settings()
    workers = workers_online(settings)
    if as_json:
        print_json(_as_json(one) | {"workers_online": workers})
        return True
    say(_asked(one))
    if one.status == SCHEDULED:
        say(f"SCHEDULED: it starts at {_minute(one.starts_at)} UTC.")
    else:
        say("WAITING for a worker.")
    if workers:
        say(f"{counted(workers, 'worker is', 'workers are')} online.")
    else:
        say(f"No worker is online. Start one: prefect worker start --pool {settings.work_pool}")
    return True


def _mappings(one: "Relocation", settings: Settings) -> "MappingCount | None":
    """Count the product's mappings of what was moved, as far as the destination can be asked."""
    if one.status is not Status.SUCCESS or one.chunks_removed_at is not None:
        return None
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - seconds

    from relocation.prefect_api.blocks import load_destination  # noqa: PLC0415 - imports Prefect
    from relocation.transfer.load.ownership import mappings_of  # noqa: PLC0415 - seconds

    with suppress(RelocationError, SQLAlchemyError):
        return mappings_of(load_destination(settings), one.id)
    return None


def _print_history(
    one: "Relocation",
    history: Sequence["HistoryEntry"],
    tries: Sequence["Try"],
    notices: Sequence["Notice"],
) -> None:
    say(_asked(one))
    say(f"{one.status} in {one.step.name}, round {one.round}")
    if one.reason:
        say(f"Reason: {one.reason}")
    for what, step in (("pauses", one.pause_before_step), ("is cancelled", one.cancel_before_step)):
        if step:
            out.print(f"It {what} before {step.name}.")
    if one.held_back:
        out.print("After a restore, its emails are held back until you resend them.")
    out.print("\n[bold]History[/bold]")
    print_table(
        ("when (UTC)", "round", "what", ""),
        [(_time(event.at), event.round, event.what, event.detail) for event in history],
        whole=("when (UTC)", "what"),
    )
    out.print("\n[bold]Tries[/bold]")
    columns = ("round", "task", "try", "began (UTC)", "seconds", "outcome")
    worker = () if _is_narrow() else ("worker",)
    print_table(
        (*columns, *worker),
        [
            (
                one_try.round,
                one_try.task,
                one_try.number,
                _time(one_try.started_at),
                _seconds(one_try),
                one_try.outcome or "running",
                *((one_try.worker,) if worker else ()),
            )
            for one_try in tries
        ],
        whole=columns,
    )
    out.print("\n[bold]Notices[/bold]")
    print_table(
        ("kind", "recipient", "state", "tries", "sent (UTC)", "next try (UTC)", "reply"),
        [
            (
                notice.kind,
                notice.recipient,
                notice.state,
                notice.tries,
                _time(notice.sent_at) if notice.sent_at else "",
                _time(notice.not_before) if notice.state == "queued" else "",
                notice.reply,
            )
            for notice in notices
        ],
        whole=("kind", "state", "sent (UTC)", "next try (UTC)"),
    )
    if one.internal_error:
        out.print("\n[bold]Internal error of the failed task[/bold]")
        text = (
            one.internal_error if VERBOSE.debug else without_frames_of_prefect(one.internal_error)
        )
        out.print(text, markup=False, soft_wrap=True)


def _asked(one: "Relocation | Awaited") -> str:
    whose = f"for {one.owner}" if one.owner else "(its people were forgotten)"
    asked = f"Relocation {one.id} of {', '.join(one.organizations)} {whose}"
    return one_line(asked, limit=MAX_REASON)


def _is_narrow() -> bool:
    return out.is_terminal and out.width < _WIDE


def _time(time: datetime, of_day: str = "%H:%M:%S") -> str:
    """Return a time in UTC; without its year where there is little room."""
    day = "%m-%d" if _is_narrow() else "%Y-%m-%d"
    return f"{time.astimezone(UTC):{day} {of_day}}"


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def _seconds(one_try: "Try") -> str:
    if one_try.ended_at is None:
        return ""
    return f"{(one_try.ended_at - one_try.started_at).total_seconds():.1f}"


def _as_json(one: "Relocation | Awaited") -> dict[str, Any]:
    if not isinstance(one, Relocation):
        return one.as_json()
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
        "next_try": notice.not_before if notice.state == "queued" else None,
        "reply": notice.reply,
    }

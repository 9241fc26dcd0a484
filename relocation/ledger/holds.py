"""Hold a relocation: fence, lease, and what only the process that holds it may write."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, or_, select, update
from sqlalchemy.exc import IntegrityError

from relocation.database import Clock
from relocation.errors import EndedError, FencedOut, OwnerBusyError
from relocation.ledger.history import record_event
from relocation.ledger.relocations import insert_relocation, to_relocation
from relocation.ledger.tables import relocations
from relocation.model import Relocation
from relocation.request import RelocationRequest
from relocation.steps import ACTIVE, LifecycleEvent, Status, Step

_ENDED = {
    Status.SUCCESS: "This relocation has already succeeded. To move more, request a new one.",
    Status.CANCELLED: "This relocation was cancelled. Request a new one.",
}


@dataclass(frozen=True)
class Hold:
    """What a process has while it works on a relocation; another's newer fence ends it."""

    relocation_id: str
    round: int
    fence: int


Seen = Relocation | Hold
"""A relocation as a caller saw it, or the caller's own hold of it."""


@dataclass(frozen=True, kw_only=True)
class OpenedRelocation(Relocation):
    """A relocation as this process has taken it over, and what that was in its life."""

    event: LifecycleEvent


def open_relocation(
    engine: Engine,
    relocation_id: str,
    request: RelocationRequest,
    clock: Clock,
    *,
    lease_seconds: float = 30,
    worker: str = "",
    pause_before: Step | None = None,
) -> OpenedRelocation:
    """Take a relocation over for this process, and create it where it is new.

    An active one goes on in its round; one that had failed begins a new round, without the reason
    of the old one (W-8). Each call raises the fence and begins a lease, by the `clock` as it is
    once the relocation is locked. A new relocation pauses before `pause_before` (R-31). Raises
    PermanentError where the relocation has ended for good, and where its owner has another active
    one (B-9): it is then left FAILURE with that reason, and not settled in its round.
    """
    with engine.begin() as connection:
        # A new relocation is one that failed in round 0: it opens as any other does.
        insert_relocation(connection, relocation_id, request, round_=0, now=clock(connection))
        row = connection.execute(_locked(relocation_id)).one()
        now = clock(connection)
        if row.status in _ENDED:
            raise EndedError(_ENDED[row.status])
        changes: dict[str, Any] = {
            "lease_until": now + timedelta(seconds=lease_seconds),
            "held_since": now,
        }
        never_opened = row.fence == 0
        if never_opened and row.pause_before_step is None:
            changes["pause_before_step"] = pause_before
        opened, refused = _take_over(connection, row, now, changes)
        if refused is None:
            begins = never_opened or opened.round > row.round
            event = record_event(
                connection,
                relocation_id,
                opened.round,
                LifecycleEvent.OPENED if begins else LifecycleEvent.TAKEN_OVER,
                at=now,
                detail=worker,
            )
            return OpenedRelocation(**vars(to_relocation(opened)), event=event)
    raise refused


def hold_of(seen: Seen) -> Hold:
    """Return the hold of the process that took the relocation over last, as it was seen."""
    return seen if isinstance(seen, Hold) else Hold(seen.id, seen.round, seen.fence)


def _take_over(
    connection: Connection, row: Row[Any], now: datetime, changes: dict[str, Any]
) -> tuple[Row[Any], OwnerBusyError | None]:
    """Return the relocation as it then is, and why it could not be opened.

    Whoever settles it then may not be this process: the reason is kept with it.
    """
    blank: tuple[str, ...] = ("resume_asked_at", "resume_asked_of", "suspended_since", "reason")
    changes |= {"fence": row.fence + 1, "updated_at": now, **dict.fromkeys(blank)}
    if row.settled_round == row.round:  # it had failed, and that is told
        blank = ("task", "failed_task", "internal_error", "cause", "settled_at")
        changes |= {"round": row.round + 1, "resumes": 0}
        changes |= dict.fromkeys(blank)
    take = (
        update(relocations)
        .where(relocations.c.id == row.id, relocations.c.fence == row.fence)
        .values(**changes)
        .returning(relocations)
    )
    try:
        with connection.begin_nested():
            return connection.execute(take.values(status=Status.IN_PROGRESS)).one(), None
    except IntegrityError:  # only the owner's index can refuse this update
        is_other = (relocations.c.owner == row.owner, relocations.c.status.in_(ACTIVE))
        other = connection.execute(select(relocations.c.id).where(*is_other)).scalar()
        named = f" ({other})" if other else ""  # it may have ended a moment ago
        busy = OwnerBusyError(f"Another relocation for the same owner{named} hasn't finished yet.")
        values = {"status": Status.FAILURE, "lease_until": None, "reason": busy.reason}
        return connection.execute(take.values(values)).one(), busy


def write_held(connection: Connection, hold: Hold, now: datetime, **values: Any) -> None:
    """Update the relocation as the process that holds it.

    Raises FencedOut where another process has taken it over, or it has ended, in the meantime.
    """
    held = (
        relocations.c.id == hold.relocation_id,
        relocations.c.fence == hold.fence,
        relocations.c.status == Status.IN_PROGRESS,
    )
    statement = update(relocations).where(*held).values(updated_at=now, **values)
    if connection.execute(statement).rowcount == 0:
        raise fenced_out(hold)


def fenced_out(hold: Hold) -> FencedOut:
    """Return the error of a process whose hold is another's by now."""
    return FencedOut(
        "Another process has taken this relocation over.",
        internal=f"fence {hold.fence} of relocation {hold.relocation_id} is no longer valid",
    )


def renew(engine: Engine, hold: Hold, lease_seconds: float, clock: Clock) -> None:
    """Say that the process that holds the relocation is alive.

    A no-op where it has recorded its success: its process has notices to send and a flow to end.
    Raises FencedOut where another one has taken it over, or it was paused, interrupted or settled.
    The `clock` is read once the relocation is locked: waiting for that does not shorten the lease.
    """
    held = (
        relocations.c.id == hold.relocation_id,
        relocations.c.fence == hold.fence,
        relocations.c.lease_until.is_not(None),
    )
    lease = update(relocations).where(*held)
    # Only the process that holds a relocation can bring it to success.
    succeeded = select(relocations.c.id).where(
        relocations.c.id == hold.relocation_id,
        relocations.c.fence == hold.fence,
        relocations.c.status == Status.SUCCESS,
    )
    with engine.begin() as connection:
        connection.execute(_locked(hold.relocation_id))
        until = clock(connection) + timedelta(seconds=lease_seconds)
        if connection.execute(lease.values(lease_until=until)).rowcount:
            return
        if connection.execute(succeeded).one_or_none() is None:
            raise fenced_out(hold)


def as_seen(relocation: Relocation, own: Hold | None) -> Seen:
    """Return the caller's own hold while it is valid, else the relocation."""
    return own if own is not None and own.fence == relocation.fence else relocation


def is_free(seen: Seen | None, now: datetime) -> ColumnElement[bool]:
    """Match the relocation while nobody has taken it over since, and nobody holds it.

    The caller's own hold need not wait for its lease to end (DESIGN 6.6). None is for a relocation
    that the caller did not see: it matches while nobody has opened it.
    """
    unchanged = relocations.c.fence == (0 if seen is None else seen.fence)
    if isinstance(seen, Hold):
        return unchanged
    return and_(
        unchanged, or_(relocations.c.lease_until.is_(None), relocations.c.lease_until <= now)
    )


def take_hold(
    engine: Engine,
    seen: Seen,
    *,
    lease_seconds: float,
    worker: str,
    now: datetime,
    silently: bool = False,
) -> Hold | None:
    """Hold a relocation in order to undo it, whatever its status; None where another process does.

    Its status stays as it is. Its history tells of it, unless this is done `silently`.
    """
    last = hold_of(seen)
    hold = replace(last, fence=last.fence + 1)
    with engine.begin() as connection:
        statement = (
            update(relocations)
            .where(relocations.c.id == hold.relocation_id, is_free(seen, now))
            .values(
                fence=hold.fence,
                held_since=now,
                lease_until=now + timedelta(seconds=lease_seconds),
                updated_at=now,
            )
        )
        if connection.execute(statement).rowcount == 0:
            return None
        if not silently:
            _record_taken_over(connection, hold, worker, now)
    return hold


def record_taken_over(engine: Engine, hold: Hold, worker: str, now: datetime) -> None:
    """Tell the history of a hold that was taken silently, once its process changes anything."""
    with engine.begin() as connection:
        _record_taken_over(connection, hold, worker, now)


def _record_taken_over(connection: Connection, hold: Hold, worker: str, now: datetime) -> None:
    what = LifecycleEvent.TAKEN_OVER
    record_event(connection, hold.relocation_id, hold.round, what, at=now, detail=worker)


def _locked(relocation_id: str) -> Select[tuple[Any, ...]]:
    """Lock the relocation: the time of a lease is read after that."""
    return select(relocations).where(relocations.c.id == relocation_id).with_for_update()


def release(engine: Engine, hold: Hold) -> None:
    """Give a hold up, so that nobody waits for its lease; a no-op where it was lost."""
    held = (relocations.c.id == hold.relocation_id, relocations.c.fence == hold.fence)
    with engine.begin() as connection:
        connection.execute(update(relocations).where(*held).values(lease_until=None))

"""Open, take over, read and annotate relocations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Text, cast, or_, select, update
from sqlalchemy.exc import IntegrityError

from relocation.errors import FencedOut, PermanentError
from relocation.ledger.tables import insert_if_new, relocations, utc_now
from relocation.request import RelocationRequest
from relocation.steps import ACTIVE, Status, Step, Task

_ENDED = {
    Status.SUCCESS: "This relocation has succeeded already. To move more, ask for a new one.",
    Status.CANCELLED: "This relocation was cancelled. Ask for a new one.",
}


@dataclass(frozen=True)
class Hold:
    """What a process has while it works on a relocation; another's newer fence ends it."""

    relocation_id: str
    round: int
    fence: int


@dataclass(frozen=True)
class Relocation:
    """A relocation as the ledger has it at one moment."""

    id: str
    status: Status
    step: Step
    task: Task | None
    round: int
    settled_round: int
    """The last round that was settled; 0 for none."""
    fence: int
    lease_until: datetime | None
    owner: str
    owner_email: str | None = field(repr=False)
    creator: str | None
    creator_email: str | None = field(repr=False)
    archive: str
    organizations: tuple[str, ...]
    reason: str | None
    failed_task: Task | None
    internal_error: str | None = field(repr=False)
    pause_before_step: Step | None
    cancel_before_step: Step | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None

    @property
    def hold(self) -> Hold:
        """The hold of the process that opened this relocation."""
        return Hold(self.id, self.round, self.fence)

    @property
    def request(self) -> RelocationRequest:
        """What was asked."""
        return RelocationRequest(
            archive=self.archive,
            organizations=list(self.organizations),
            owner=self.owner,
            creator=self.creator,
        )


def open_relocation(
    engine: Engine,
    relocation_id: str,
    request: RelocationRequest,
    now: datetime | None = None,
) -> Relocation:
    """Take a relocation over for this process, and create it where it is new.

    An active one goes on in its round; one that had failed begins a new round, without the reason
    of the old one (W-8). Each call raises the fence. Raises PermanentError where the relocation
    has ended for good, and where its owner has another active one (B-9): it is then left FAILURE
    and not settled in its new round.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        # A new relocation is one that failed in round 0: it opens as any other does.
        insert_relocation(connection, relocation_id, request, round_=0, now=now)
        wanted = select(relocations).where(relocations.c.id == relocation_id)
        row = connection.execute(wanted.with_for_update()).one()
        if row.status in _ENDED:
            raise PermanentError(_ENDED[row.status])
        opened, other = _take_over(connection, row, now)
    if opened is None:
        named = f" ({other})" if other else ""  # it may have ended a moment ago
        raise PermanentError(
            f"Another relocation for the same owner{named} is not finished yet. "
            "Wait until it has ended, then ask again."
        )
    return _relocation(opened)


def _take_over(
    connection: Connection, row: Row[Any], now: datetime
) -> tuple[Row[Any] | None, str | None]:
    """Return the relocation as opened, or nothing and the owner's other one that is active."""
    changes: dict[str, Any] = {"fence": row.fence + 1, "updated_at": now}
    if row.status is Status.FAILURE:
        blank = ("task", "reason", "failed_task", "internal_error", "settled_at")
        changes |= {"round": row.round + 1, **dict.fromkeys(blank)}
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
        connection.execute(take.values(status=Status.FAILURE)).one()
        is_other = (relocations.c.owner == row.owner, relocations.c.status.in_(ACTIVE))
        return None, connection.execute(select(relocations.c.id).where(*is_other)).scalar()


def insert_relocation(
    connection: Connection,
    relocation_id: str,
    request: RelocationRequest,
    *,
    round_: int,
    now: datetime,
) -> bool:
    """Insert a relocation that is not open; a no-op where it exists; says whether it was new."""
    row = {
        "id": relocation_id,
        "status": Status.FAILURE,
        "step": Step.UPLOADING,
        "round": round_,
        "settled_round": 0,
        "fence": 0,
        "owner": request.owner,
        "creator": request.creator,
        "archive": request.archive,
        "organizations": request.organizations,
        "created_at": now,
        "updated_at": now,
    }
    return insert_if_new(connection, relocations, row)


def find_relocation(engine: Engine, relocation_id: str) -> Relocation | None:
    """Return the relocation, or None where there is none of this id."""
    with engine.begin() as connection:
        wanted = select(relocations).where(relocations.c.id == relocation_id)
        row = connection.execute(wanted).one_or_none()
    return _relocation(row) if row else None


def get_relocation(engine: Engine, relocation_id: str) -> Relocation:
    """Return the relocation; raises PermanentError where there is none of this id."""
    relocation = find_relocation(engine, relocation_id)
    if relocation is None:
        raise unknown_relocation(relocation_id)
    return relocation


def unknown_relocation(relocation_id: str) -> PermanentError:
    """Return the error for an id that the ledger does not have."""
    return PermanentError(
        "There is no such relocation. Check its id.",
        internal=f"no relocation {relocation_id!r} in the ledger",
    )


def list_relocations(
    engine: Engine,
    *,
    status: Status | None = None,
    owner: str | None = None,
    words: Sequence[str] = (),
    limit: int = 50,
) -> list[Relocation]:
    """Return relocations, newest first.

    Every word must be part of the id, of the owner's name or of a slug, in upper or lower case.
    """
    wanted = select(relocations)
    if status is not None:
        wanted = wanted.where(relocations.c.status == status)
    if owner is not None:
        wanted = wanted.where(relocations.c.owner == owner)
    searched = (
        relocations.c.id,
        cast(relocations.c.owner, Text),
        cast(relocations.c.organizations, Text),
    )
    for word in words:
        wanted = wanted.where(or_(*(text.icontains(word, autoescape=True) for text in searched)))
    newest = wanted.order_by(relocations.c.created_at.desc(), relocations.c.id).limit(limit)
    with engine.begin() as connection:
        return [_relocation(row) for row in connection.execute(newest)]


def record_people(
    engine: Engine,
    hold: Hold,
    owner_email: str | None,
    creator_email: str | None,
    now: datetime | None = None,
) -> None:
    """Keep the addresses to which notices of this relocation go; raises FencedOut."""
    with engine.begin() as connection:
        write_held(connection, hold, now, owner_email=owner_email, creator_email=creator_email)


def write_held(
    connection: Connection, hold: Hold, now: datetime | None = None, **values: Any
) -> None:
    """Update the relocation as the process that holds it.

    Raises FencedOut where another process has taken it over, or it has ended, in the meantime.
    """
    held = (
        relocations.c.id == hold.relocation_id,
        relocations.c.fence == hold.fence,
        relocations.c.status.in_(ACTIVE),
    )
    statement = update(relocations).where(*held).values(updated_at=now or utc_now(), **values)
    if connection.execute(statement).rowcount == 0:
        raise FencedOut(
            "The relocation goes on elsewhere.",
            internal=f"fence {hold.fence} of relocation {hold.relocation_id} is no longer valid",
        )


def _relocation(row: Row[Any]) -> Relocation:
    columns = dict(row._mapping)
    return Relocation(**columns | {"organizations": tuple(columns["organizations"])})

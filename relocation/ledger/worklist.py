"""The relocations that somebody has to look at: dead, abandoned, or with files to remove."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, and_, not_, or_, select, update

from relocation.database import reading
from relocation.ledger.history import record_event
from relocation.ledger.relocations import to_relocation
from relocation.ledger.tables import has_files, is_discarding, is_open, relocations
from relocation.ledger.tries import forget_work
from relocation.model import Relocation
from relocation.steps import LifecycleEvent, Status

AT_ONCE = 500
"""Most relocations whose files one sweep begins to remove; the next one sees to the rest."""
DISCARDS_AT_ONCE = 100
"""Most removals that one sweep carries out, each of which asks the storage some 200 times."""

_is_suspended = and_(
    relocations.c.status == Status.PAUSED, relocations.c.suspended_since.is_not(None)
)


def abandoned(engine: Engine, now: datetime) -> list[Relocation]:
    """Return the relocations that are not settled and that no process holds, oldest lease first.

    Those that wait for a person are not among them, once their run is known to be suspended.
    """
    nobody = or_(relocations.c.lease_until.is_(None), relocations.c.lease_until <= now)
    wanted = select(relocations).where(is_open, nobody, not_(_is_suspended))
    with reading(engine) as connection:
        found = connection.execute(wanted.order_by(relocations.c.lease_until))
        return [to_relocation(row) for row in found]


def suspended_ids(engine: Engine) -> list[str]:
    """Return the ids of the paused relocations whose run is known to be suspended."""
    with reading(engine) as connection:
        wanted = select(relocations.c.id).where(is_open, _is_suspended)
        return list(connection.execute(wanted).scalars())


def unsettled_among(engine: Engine, relocation_ids: Collection[str]) -> set[str]:
    """Return those of the ids that the ledger has not, or not settled in their last round."""
    settled = select(relocations.c.id).where(relocations.c.id.in_(relocation_ids), ~is_open)
    with reading(engine) as connection:
        return set(relocation_ids) - set(connection.execute(settled).scalars())


def with_old_files(engine: Engine, settled_before: datetime) -> list[str]:
    """Return the ids of relocations that ended before then, and whose working files are kept."""
    wanted = (
        select(relocations.c.id)
        .where(has_files, relocations.c.settled_at < settled_before, ~is_open)
        .limit(AT_ONCE)
    )
    with reading(engine) as connection:
        return list(connection.execute(wanted).scalars())


@dataclass(frozen=True)
class Discard:
    """Working files that have to go: those of some rounds of a relocation."""

    relocation_id: str
    first_round: int
    last_round: int


def begin_discarding(engine: Engine, relocation_id: str) -> bool:
    """Record that the working files of a settled relocation are to go, before the first one does.

    A rerun then makes them from the archive again; after a success there is none, and what its
    tasks found stays. False where it goes on at this moment, or where
    its files are to go already.
    """
    settled = (relocations.c.id == relocation_id, ~is_open, has_files)
    with engine.begin() as connection:
        marked = update(relocations).where(*settled).values(discarding_round=relocations.c.round)
        status = connection.execute(marked.returning(relocations.c.status)).scalar_one_or_none()
        if status is None:
            return False
        if status is not Status.SUCCESS:
            forget_work(connection, relocation_id)
    return True


def to_discard(engine: Engine, relocation_id: str | None = None) -> list[Discard]:
    """Return what is left of removals that have begun, of one relocation or of all."""
    wanted = (
        select(relocations.c.id, relocations.c.discarded_round, relocations.c.discarding_round)
        .where(is_discarding)
        .order_by(relocations.c.settled_at)
        .limit(DISCARDS_AT_ONCE)
    )
    if relocation_id is not None:
        wanted = wanted.where(relocations.c.id == relocation_id)
    with reading(engine) as connection:
        return [Discard(id_, gone + 1, last) for id_, gone, last in connection.execute(wanted)]


def end_discarding(engine: Engine, discard: Discard, now: datetime) -> None:
    """Record that working files are gone; a no-op where another process has recorded it."""
    gone = (
        update(relocations)
        .where(
            relocations.c.id == discard.relocation_id,
            relocations.c.discarded_round < discard.last_round,
        )
        .values(discarded_round=discard.last_round)
    )
    with engine.begin() as connection:
        if connection.execute(gone).rowcount:
            record_event(
                connection,
                discard.relocation_id,
                discard.last_round,
                LifecycleEvent.FILES_DISCARDED,
                at=now,
            )

"""Find the relocations that somebody has to look at: dead, abandoned, or with files to remove."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine, and_, not_, or_, select, update

from relocation.ledger.relocations import to_relocation
from relocation.ledger.story import remember
from relocation.ledger.tables import (
    Happening,
    has_files,
    is_open,
    relocations,
    tasks_done,
    utc_now,
)
from relocation.model import Relocation
from relocation.steps import Status

AT_ONCE = 500
"""Most relocations whose files one sweep removes; the next one sees to the rest."""

_is_suspended = and_(
    relocations.c.status == Status.PAUSED, relocations.c.suspended_since.is_not(None)
)


def abandoned(engine: Engine, now: datetime) -> list[Relocation]:
    """Return the relocations that are not settled and that no process holds, oldest lease first.

    Those that wait for a person are not among them, once their run is known to be suspended.
    """
    nobody = or_(relocations.c.lease_until.is_(None), relocations.c.lease_until <= now)
    wanted = select(relocations).where(is_open, nobody, not_(_is_suspended))
    with engine.begin() as connection:
        found = connection.execute(wanted.order_by(relocations.c.lease_until))
        return [to_relocation(row) for row in found]


def suspended_ids(engine: Engine) -> list[str]:
    """Return the ids of the paused relocations whose run is known to be suspended."""
    with engine.begin() as connection:
        wanted = select(relocations.c.id).where(is_open, _is_suspended)
        return list(connection.execute(wanted).scalars())


def unsettled_among(engine: Engine, relocation_ids: Collection[str]) -> set[str]:
    """Return those of the ids that the ledger has not, or not settled in their last round."""
    settled = select(relocations.c.id).where(relocations.c.id.in_(relocation_ids), ~is_open)
    with engine.begin() as connection:
        return set(relocation_ids) - set(connection.execute(settled).scalars())


def open_ids(engine: Engine) -> list[str]:
    """Return the ids of the relocations that are not settled."""
    with engine.begin() as connection:
        return list(connection.execute(select(relocations.c.id).where(is_open)).scalars())


def with_old_files(engine: Engine, settled_before: datetime) -> list[str]:
    """Return the ids of relocations that ended before then, and whose working files are kept."""
    wanted = (
        select(relocations.c.id)
        .where(has_files, relocations.c.settled_at < settled_before, ~is_open)
        .limit(AT_ONCE)
    )
    with engine.begin() as connection:
        return list(connection.execute(wanted).scalars())


def forget_files(engine: Engine, relocation_id: str, now: datetime | None = None) -> bool:
    """Record that the working files of a settled relocation are about to be removed.

    A rerun then begins with the archive again. False where it goes on at this moment, or where the
    files were removed before.
    """
    now = now or utc_now()
    settled = (relocations.c.id == relocation_id, ~is_open, has_files)
    with engine.begin() as connection:
        gone = update(relocations).where(*settled).values(files_kept=False)
        row = connection.execute(
            gone.returning(relocations.c.round, relocations.c.status)
        ).one_or_none()
        if row is None:
            return False
        if row.status is not Status.SUCCESS:
            done = tasks_done.c.relocation_id == relocation_id
            connection.execute(tasks_done.delete().where(done))
        remember(connection, relocation_id, row.round, Happening.FILES_DISCARDED, at=now)
    return True

"""What a relocation is told on arrival: whom to write to, and whether there is room today."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select, text

from relocation.errors import DailyLimitError
from relocation.ledger.holds import Hold, write_held
from relocation.ledger.tables import relocations

_LOCK = 0x41444D54  # any number; PostgreSQL's advisory locks have no names
_A_DAY = timedelta(hours=24)


def record_people(
    engine: Engine,
    hold: Hold,
    owner_email: str | None,
    creator_email: str | None,
    now: datetime,
) -> None:
    """Keep the addresses to which notices of this relocation go; raises FencedOut."""
    with engine.begin() as connection:
        write_held(connection, hold, now, owner_email=owner_email, creator_email=creator_email)


def admit(
    engine: Engine,
    hold: Hold,
    archive_bytes: int,
    *,
    sizes: range,
    limit: int | None,
    now: datetime,
) -> None:
    """Admit an archive unless the limit of its size class is reached (R-30); idempotent.

    `sizes` are the bytes of the class; what counts is every archive of the class that was admitted
    in the 24 hours before, by anybody. Raises PermanentError where the limit is reached, FencedOut.
    """
    with engine.begin() as connection:
        if limit is not None and connection.dialect.name == "postgresql":
            # Two that count at the same moment must not both find the last place.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        admitted = (
            select(func.count())
            .select_from(relocations)
            .where(
                relocations.c.created_at > now - _A_DAY,
                relocations.c.archive_bytes.between(sizes.start, sizes.stop - 1),
                relocations.c.id != hold.relocation_id,
            )
        )
        if limit is not None and connection.execute(admitted).scalar_one() >= limit:
            raise DailyLimitError(
                "The daily limit for relocations of this size has been reached. It counts the "
                "last 24 hours."
            )
        write_held(connection, hold, now, archive_bytes=archive_bytes)

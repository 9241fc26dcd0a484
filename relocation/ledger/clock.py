"""The one clock by which leases run: the ledger's, so that workers' clocks do not matter."""

from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, func, select


def ledger_time(connection: Connection) -> datetime:
    """Return the wall clock of the ledger's database, at this moment and not as of its transaction.

    Read it once the locks are had, or a lease is shorter by the time that was waited for them. A
    ledger in a SQLite file is on this machine.
    """
    if connection.dialect.name != "postgresql":
        return datetime.now(UTC)
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)


def ledger_now(engine: Engine) -> datetime:
    """Return the wall clock of the ledger's database."""
    if engine.dialect.name != "postgresql":
        return datetime.now(UTC)
    with engine.begin() as connection:
        return ledger_time(connection)

"""Make an engine behave the same whatever database is behind it."""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import NullPool

SQLITE_BUSY_SECONDS = 20

_POSTGRESQL_LIMITS = {
    "statement_timeout": "15min",
    "lock_timeout": "60s",
    # A client that vanished in a transaction must not hold its locks until TCP gives it up.
    "idle_in_transaction_session_timeout": "10min",
}


def engine_options(dialect: str) -> dict[str, Any]:
    """Return the `create_engine` options that the project relies on for a dialect.

    SQLite gets no pool: an open connection would go on writing to a file that was moved or removed.
    Parameters stay out of errors: they are people's names, addresses and tokens.
    """
    if dialect == "sqlite":
        return {"hide_parameters": True, "poolclass": NullPool}
    return {"hide_parameters": True, "pool_pre_ping": True, "pool_size": 2, "max_overflow": 2}


def prepare(engine: Engine) -> Engine:
    """Give an engine the project's transaction behaviour; idempotent, returns the same engine.

    On SQLite: wait for locks, check foreign keys, and begin each transaction as a writer, since a
    reader cannot be made a writer while another one writes; with the execution option `reads` it
    stays a reader, and lets others write. On PostgreSQL: bound what a statement, a lock and an idle
    transaction may take, since a task's time limit cannot reach into a driver.
    """
    if engine.dialect.name == "postgresql" and not event.contains(engine, "connect", _limit):
        event.listen(engine, "connect", _limit)
    if engine.dialect.name == "sqlite" and not event.contains(engine, "begin", _begin_as_writer):
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_as_writer)
    return engine


def _limit(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for name, limit in _POSTGRESQL_LIMITS.items():
            cursor.execute(f"SET {name} = '{limit}'")
    connection.commit()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_as_writer(connection: Any) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

"""Make engines, clocks and inserts behave the same whatever database is behind them."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

SQLITE_BUSY_SECONDS = 20

_POSTGRESQL_SETTINGS = {
    # In another zone the first and the last day that Python knows cannot be read back.
    "timezone": "UTC",
    "statement_timeout": "15min",
    "lock_timeout": "60s",
    # A client that vanished in a transaction must not hold its locks until TCP gives it up.
    "idle_in_transaction_session_timeout": "10min",
}
_LIBPQ_DRIVERS = {"psycopg", "psycopg2"}
_LIBPQ_LIMITS = {
    "connect_timeout": 10,
    # A server that vanished is noticed after 50 s, where Linux alone would wait for hours.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,  # milliseconds
}

_PLAIN = ("08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX")
"""Classes of SQLSTATE whose messages name tables and limits, and never quote a value."""
_PLACE_OF_COPY = re.compile(r"COPY (\w+), line (\d+)(?:, column (\w+))?")


def engine_options(dialect: str) -> dict[str, Any]:
    """Return the `create_engine` options that the project relies on for a dialect.

    SQLite gets no pool: an open connection would go on writing to a file that was moved or removed.
    Parameters stay out of errors: they are people's names, addresses and tokens.
    """
    if dialect == "sqlite":
        return {"hide_parameters": True, "poolclass": NullPool}
    return {"hide_parameters": True, "pool_pre_ping": True, "pool_size": 2, "max_overflow": 2}


def reading(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a transaction that only reads: on SQLite, others can write at the same time."""
    return engine.execution_options(reads=True).begin()


Clock = Callable[[Connection], datetime]
"""What tells the time inside a transaction: `database_time`, but for tests."""


def database_time(connection: Connection) -> datetime:
    """Return the database's wall clock, at this moment and not as of its transaction.

    Leases run by it, so that workers' clocks do not matter. Read it once the locks are had, or a
    lease is shorter by the time that was waited for them. A SQLite file is on this machine.
    """
    if connection.dialect.name != "postgresql":
        return datetime.now(UTC)
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)


def database_now(engine: Engine) -> datetime:
    """Return the database's wall clock."""
    if engine.dialect.name != "postgresql":
        return datetime.now(UTC)
    with reading(engine) as connection:
        return database_time(connection)


def insert_new(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    returning: Column[Any] | None = None,
) -> list[Any]:
    """Insert the rows that none of the table's unique keys has already; returns a value of each.

    That of the first column unless another one is named. Many rows go in one statement.
    """
    if not rows:
        return []
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    told = table.columns[0] if returning is None else returning
    statement = insert(table).on_conflict_do_nothing().returning(told)
    # The row count does not tell it on PostgreSQL, where the key comes from a sequence.
    return list(connection.execute(statement, list(rows)).scalars())


def insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one of the table's unique keys has it already; says whether it did."""
    return bool(insert_new(connection, table, [row]))


def prepare(engine: Engine) -> Engine:
    """Give an engine the project's transaction behaviour; idempotent, returns the same engine.

    On SQLite: wait for locks, check foreign keys, and begin each transaction as a writer, since a
    reader cannot be made a writer while another one writes; with the execution option `reads` it
    stays a reader, and lets others write. On PostgreSQL: bound what connecting, silence of the
    network, a statement, a lock and an idle transaction may take, since a task's time limit cannot
    reach into a driver; and keep rows out of its errors.
    """
    if engine.dialect.name == "postgresql" and not event.contains(
        engine, "connect", _configure_session
    ):
        event.listen(engine, "do_connect", _limit_connecting)
        event.listen(engine, "connect", _configure_session)
        event.listen(engine, "handle_error", _hide_rows_of)
    if engine.dialect.name == "sqlite" and not event.contains(engine, "begin", _begin_as_writer):
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_as_writer)
    return engine


def hide_rows(error: BaseException) -> None:
    """Take from a driver's error, in place, what quotes a row, and say where it arose instead.

    PostgreSQL quotes the row that it refuses: people's addresses, hashes of their passwords. SQLite
    names the columns alone, and its errors stay as they are.
    """
    if hasattr(error, "diag"):
        error.args = (_said_without_rows(error),)


def _hide_rows_of(context: ExceptionContext) -> None:
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    hide_rows(error)
    if isinstance(wrapped, DBAPIError):
        kind = type(error)
        wrapped.args = (f"({kind.__module__}.{kind.__name__}) {error}",)


def _said_without_rows(error: Any) -> str:
    told = error.diag
    if told.sqlstate is None:  # from the driver: of a connection, or of a value
        values = {"DataError", "IntegrityError"} & {kind.__name__ for kind in type(error).__mro__}
        return "a value that the driver cannot pass on" if values else str(error)
    # What a trigger raises, and what a function runs, may have any code, and be made of a row.
    made_up = told.source_function == "exec_stmt_raise" or told.internal_query is not None
    if told.sqlstate.startswith(_PLAIN) and not made_up:
        return str(told.message_primary)
    copied = _PLACE_OF_COPY.match(told.context or "")
    table, line, column = copied.groups() if copied else (None, None, None)
    places = {
        "constraint": told.constraint_name,
        "table": told.table_name or table,
        "line": line,
        "column": told.column_name or column,
        "SQLSTATE": told.sqlstate,
    }
    return ", ".join(f"{what} {name}" for what, name in places.items() if name)


def _limit_connecting(
    dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]
) -> None:
    if dialect.driver in _LIBPQ_DRIVERS:
        for name, limit in _LIBPQ_LIMITS.items():
            parameters.setdefault(name, limit)


def _configure_session(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for name, value in _POSTGRESQL_SETTINGS.items():
            cursor.execute(f"SET {name} = '{value}'")
    connection.commit()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_as_writer(connection: Any) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

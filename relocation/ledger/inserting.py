"""Insert what is not there yet, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


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

"""Insert what is not there yet, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that none of the table's unique keys has already; returns how many.

    Many rows go in one statement.
    """
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    # The row count does not tell it on PostgreSQL, where the key comes from a sequence.
    return len(connection.execute(statement, list(rows)).all())


def insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one of the table's unique keys has it already; says whether it did."""
    return insert_new(connection, table, [row]) == 1

"""Read and write many rows of a destination at once."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import REGCLASS

from relocation.transfer.database.copying import copy_columns

_SLICE = 4000
"""Values in one IN list, far below what SQLite and PostgreSQL allow in a statement."""


def slices(items: Iterable[Any], size: int = _SLICE) -> Iterator[list[Any]]:
    """Cut items into lists of at most `size`."""
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece


def select_in(
    connection: Connection,
    query: Select[Any],
    among: Callable[[list[Any]], ColumnElement[bool]],
    values: Collection[Any],
) -> list[Any]:
    """Return the rows of a query for which `among` some of the values holds."""
    return [
        row
        for piece in slices(values)
        for row in connection.execute(query.where(among(piece))).all()
    ]


def one_of(column: Column[Any]) -> Callable[[list[str]], ColumnElement[bool]]:
    """Return the condition that a column holds one of some texts.

    PostgreSQL takes them as one text: thousands of parameters take longer than their search.
    """
    if column.table.info.get("dialect") != "postgresql":
        return column.in_

    def among(values: list[str]) -> ColumnElement[bool]:
        text = cast(literal(orjson.dumps(values).decode()), JSON)
        return column.in_(select(cast(func.json_array_elements_text(text), column.type)))

    return among


def same_text(column: Column[Any]) -> Callable[[list[str]], ColumnElement[bool]]:
    """Return the condition that a column holds one of some texts, in whatever case.

    Blanks around it do not count. The exact text is asked for as well, since SQLite knows the case
    of ASCII letters alone.
    """
    return lambda texts: (
        func.lower(func.trim(column)).in_([text.strip(" ").lower() for text in texts])
        | column.in_(texts)
    )


def is_odd(column: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that a text holds more than the printable characters of ASCII."""
    if column.table.info.get("dialect") == "postgresql":
        return cast(column, Text).op("!~")("^[ -~]*$")
    return column.op("GLOB")("*[^ -~]*")


def allocate_pks(connection: Connection, table: Table, count: int) -> list[int]:
    """Return primary keys for new rows, rising: of the column's sequence, else past the largest.

    Without a sequence another writer may take the same; its insert or ours is then refused.
    """
    if not count:
        return []
    if connection.dialect.name == "postgresql":
        name = connection.dialect.identifier_preparer.format_table(table)
        sequence = select(func.pg_get_serial_sequence(name, table.c.id.name)).scalar_subquery()
        number = func.nextval(cast(sequence, REGCLASS))
        numbers = select(func.array_agg(number)).select_from(func.generate_series(1, count))
        pks = list(connection.execute(numbers).scalar_one())
        if pks[0] is not None:
            return sorted(pks)
    first = (connection.execute(select(func.max(table.c.id))).scalar() or 0) + 1
    return list(range(first, first + count))


def advance_sequence(connection: Connection, table: Table) -> None:
    """Let new primary keys begin after those that are there (I-18)."""
    if connection.dialect.name != "postgresql":
        return
    name = connection.dialect.identifier_preparer.format_table(table)
    sequence = func.pg_get_serial_sequence(name, table.c.id.name)
    last = select(func.max(table.c.id)).scalar_subquery()
    connection.execute(select(func.setval(sequence, last)))


def insert_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows in bulk; columns that a row leaves out take the database's default."""
    shapes: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        shapes.setdefault(frozenset(row), []).append(row)
    for names, alike in shapes.items():
        columns = {name: [row[name] for row in alike] for name in names}
        insert_columns(connection, table, columns)


def insert_columns(
    connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows in bulk, given column by column; columns that are not given take their default.

    On PostgreSQL by COPY, which is many times faster than INSERT; needs psycopg there.
    """
    if connection.dialect.driver == "psycopg":
        copy_columns(connection, table, columns)
        return
    # By position: the names of a statement's parameters cost more than SQLite's work on the row.
    preparer, dialect = connection.dialect.identifier_preparer, connection.dialect
    names = ", ".join(preparer.quote(name) for name in columns)
    marks = ", ".join("?" for _ in columns)
    statement = f"INSERT INTO {preparer.format_table(table)} ({names}) VALUES ({marks})"
    bound = []
    for name, values in columns.items():
        process = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        bound.append(values if process is None else list(map(process, values)))
    connection.exec_driver_sql(statement, list(zip(*bound, strict=True)))

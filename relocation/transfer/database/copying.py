"""Insert rows into PostgreSQL by COPY, many times faster than by INSERT."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Json, Jsonb
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    Integer,
    SmallInteger,
    String,
    Table,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from relocation.database import hide_rows


def copy_columns(
    connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows, given column by column, in the connection's transaction.

    Columns that are not given take their default. In binary form where every column has one that
    is known: it takes a fifth of the time to write, and less to read. Raises DBAPIError.
    """
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(preparer.quote(name) for name in columns)
    bound = [_bound(connection, table.c[name], values) for name, values in columns.items()]
    types = [
        _binary_type(table.c[name].type, values)
        for name, values in zip(columns, bound, strict=True)
    ]
    known = [name for name in types if name]
    binary = len(known) == len(types)
    statement = f"COPY {preparer.format_table(table)} ({names}) FROM STDIN"
    if binary:
        statement += " (FORMAT BINARY)"
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            if binary:
                copy.set_types(known)
            for row in zip(*bound, strict=True):
                copy.write_row(row)
    except psycopg.Error as err:
        hide_rows(err)
        raise DBAPIError.instance(
            statement, None, err, psycopg.Error, hide_parameters=True, dialect=connection.dialect
        ) from err
    finally:
        cursor.close()


def _bound(connection: Connection, column: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Return the values as the driver takes them for this column."""
    if isinstance(column.type, JSON):
        wrap = Jsonb if isinstance(column.type, JSONB) else Json
        return [None if value is None else wrap(value, _json) for value in values]
    process = column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return values if process is None else list(map(process, values))


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number beyond 64 bits
        return json.dumps(value).encode()


def _binary_type(stored: TypeEngine[Any], values: Sequence[Any]) -> str | None:
    """Return the type whose binary form the values of a column take, None where that is unsure."""
    for kind, name, python in _BINARY:
        if isinstance(stored, kind):
            zoned = "tz" if isinstance(stored, DateTime) and stored.timezone else ""
            return name + zoned if set(map(type, values)) <= {python, type(None)} else None
    return None


_BINARY: tuple[tuple[type[TypeEngine[Any]], str, type], ...] = (
    (Boolean, "bool", bool),
    (SmallInteger, "int2", int),
    (BigInteger, "int8", int),
    (Integer, "int4", int),
    (Double, "float8", float),
    (DateTime, "timestamp", datetime),
    (Uuid, "uuid", uuid.UUID),
    (JSONB, "jsonb", Jsonb),
    (JSON, "json", Json),
    (String, "text", str),
)
"""Types of columns, a type with the same binary form, and the values it takes."""

"""The throw-away database of a trial import: the destination's tables, without its rows.

On SQLite it is a file of its own. On PostgreSQL it is a schema of its own in the same database,
to which each transaction of the scratch engine is bound: nothing of the destination is in reach,
not even by a table that the scratch lacks.
"""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    TEXT,
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import ProgrammingError

from relocation.catalogue import load_catalogue
from relocation.database import prepare
from relocation.errors import ConfigurationError
from relocation.transfer.database.schema import LOST_PASSWORDS, create_own_tables, read_once

_OWNER_ONLY = 0o600
_PREFIX = "relocation_scratch_"
_OURS = re.compile(rf"{_PREFIX}[0-9a-f]{{32}}")
_SIDE_FILES = ("", "-journal", "-wal", "-shm")

_STATEMENTS = """
    SELECT type, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND substr(name, 1, 7) != 'sqlite_'
        AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')
    ORDER BY type = 'index', type = 'view', rowid
"""
"""What made a SQLite database, tables first; a virtual table makes its shadow tables itself."""


@dataclass(frozen=True)
class Scratch:
    """An empty scratch database."""

    engine: Engine
    triggers: tuple[str, ...] = ()
    """What makes the destination's triggers; withheld until what existed before is in place."""

    def arm(self) -> None:
        """Make it react like the destination from here on; once, after loading what existed."""
        with self.engine.begin() as connection:
            for statement in self.triggers:
                connection.exec_driver_sql(statement)
            if connection.dialect.name == "postgresql":
                _advance_sequences(connection)


@contextmanager
def scratch(destination: Engine, relocation_id: str, folder: Path) -> Iterator[Scratch]:
    """Make a scratch database like the destination, and remove it at the end, whatever happens.

    One that was left over from a killed trial of the same relocation is removed first. Raises
    ConfigurationError where the destination's dialect or rights do not allow it.
    """
    drop_scratch(destination, relocation_id, folder)
    try:
        if destination.dialect.name == "sqlite":
            with _copy_file(destination, scratch_file(relocation_id, folder)) as copy:
                yield copy
        else:
            yield _copy_schema(destination, _schema(relocation_id))
    finally:
        drop_scratch(destination, relocation_id, folder)


def drop_scratch(destination: Engine, relocation_id: str, folder: Path) -> None:
    """Remove the relocation's scratch database; idempotent."""
    match destination.dialect.name:
        case "sqlite":
            path = scratch_file(relocation_id, folder)
            for suffix in _SIDE_FILES:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        case "postgresql":
            with destination.begin() as connection:
                schema = _schema(relocation_id)
                connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        case dialect:
            raise ConfigurationError(
                "Relocations don't support this kind of destination database.",
                internal=f"use SQLite or PostgreSQL, not {dialect}",
            )


def scratches(destination: Engine, folder: Path) -> set[str]:
    """Return the ids of the relocations, of whichever service, that have a scratch database."""
    if destination.dialect.name == "sqlite":
        names = {path.name.partition(".")[0] for path in folder.glob(f"{_PREFIX}*")}
    else:
        names = set(inspect(destination).get_schema_names())
    return {str(uuid.UUID(name.removeprefix(_PREFIX))) for name in names if _OURS.fullmatch(name)}


def scratch_file(relocation_id: str, folder: Path) -> Path:
    """Return the file of a relocation's scratch database, where the destination is a file."""
    return folder / f"{_schema(relocation_id)}.sqlite"


def _schema(relocation_id: str) -> str:
    return f"relocation_scratch_{uuid.UUID(relocation_id).hex}"


@contextmanager
def _copy_file(destination: Engine, path: Path) -> Iterator[Scratch]:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))
    engine = prepare(create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True))
    event.listen(engine, "connect", _do_not_sync)
    with destination.connect() as source:
        made = source.exec_driver_sql(_STATEMENTS).all()
    try:
        with engine.begin() as connection:
            for kind, statement in made:
                if kind != "trigger":
                    connection.exec_driver_sql(statement)
        create_own_tables(engine)
        triggers = tuple(statement for kind, statement in made if kind == "trigger")
        yield Scratch(read_once(engine, like=destination), triggers)
    finally:
        engine.dispose()


def _do_not_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")  # what a crash leaves is thrown away anyhow


def _copy_schema(destination: Engine, schema: str) -> Scratch:
    """Copy the tables that an import touches; triggers stay behind.

    A trigger's function may name the destination's tables in full: run in the scratch, it would
    write into them.
    """
    engine = read_once(destination)
    event.listen(engine, "begin", _bind_to(schema))
    try:
        with destination.begin() as connection:
            connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
            _recognize_citext(connection)
            tables = _copied_tables(connection)
            for table in tables:
                _copy_table(connection, schema, table)
            for table in tables:
                _copy_references(connection, schema, table, tables)
    except ProgrammingError as err:
        raise ConfigurationError(
            "The trial import needs a permission that the destination doesn't grant.",
            internal="let the destination's user create schemas in its database",
        ) from err
    create_own_tables(engine)
    return Scratch(engine)


def _recognize_citext(connection: Connection) -> None:
    """Let the type be known by its full name, which it has where its schema is not searched.

    Text does for it there: what compares addresses brings them into one case by itself.
    """
    query = "SELECT typnamespace::regnamespace::text FROM pg_type WHERE typname = 'citext'"
    schemas = connection.exec_driver_sql(query).scalars()
    names = {f"{schema}.citext": TEXT for schema in schemas}
    dialect: Any = connection.dialect
    dialect.ischema_names = {**dialect.ischema_names, **names}


def _bind_to(schema: str) -> Any:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f'SET LOCAL search_path TO "{schema}"')

    return begin


def _copied_tables(connection: Connection) -> list[str]:
    present = set(inspect(connection).get_table_names())
    wanted = [*(model.table for model in load_catalogue().values()), LOST_PASSWORDS]
    return [table for table in wanted if table in present]


def _copy_table(connection: Connection, schema: str, table: str) -> None:
    quote = connection.dialect.identifier_preparer.quote
    copy = f"{quote(schema)}.{quote(table)}"
    connection.exec_driver_sql(f"CREATE TABLE {copy} (LIKE {quote(table)} INCLUDING ALL)")
    for column in inspect(connection).get_columns(table):
        if "nextval(" in str(column.get("default") or ""):
            # The copied default would draw from the destination's own sequence.
            name = quote(column["name"])
            sequence = f"{quote(schema)}.{quote(table + '_' + column['name'] + '_seq')}"
            connection.exec_driver_sql(f"CREATE SEQUENCE {sequence} OWNED BY {copy}.{name}")
            connection.exec_driver_sql(
                f"ALTER TABLE {copy} ALTER {name} SET DEFAULT nextval('{sequence}')"
            )


def _copy_references(connection: Connection, schema: str, table: str, copied: list[str]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for key in inspect(connection).get_foreign_keys(table):
        if key["referred_table"] not in copied:
            continue
        own = ", ".join(quote(column) for column in key["constrained_columns"])
        other = ", ".join(quote(column) for column in key["referred_columns"])
        connection.exec_driver_sql(
            f"ALTER TABLE {quote(schema)}.{quote(table)} ADD FOREIGN KEY ({own}) "
            f"REFERENCES {quote(schema)}.{quote(key['referred_table'])} ({other})"
        )


def _advance_sequences(connection: Connection) -> None:
    """Let new primary keys begin after those that were loaded."""
    for table in inspect(connection).get_table_names():
        columns = {column["name"] for column in inspect(connection).get_columns(table)}
        if "id" not in columns:
            continue
        name = connection.dialect.identifier_preparer.quote(table)
        last = select(func.max(text("id"))).select_from(text(name)).scalar_subquery()
        connection.execute(select(func.setval(func.pg_get_serial_sequence(name, "id"), last)))

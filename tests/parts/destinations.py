"""Destinations for a test: databases of either dialect, and what is asked of them."""

import shutil
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypedDict

from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.pool import NullPool

from relocation.catalogue import Scope, load_catalogue
from relocation.database import engine_options, prepare
from relocation.plan import Plan
from relocation.transfer.database.schema import create_embedded, read_once, reflect

Rows = Callable[[str], list[dict[str, Any]]]
"""Reads all rows of a model, by field, in the order of their primary keys."""


class Add(Protocol):
    """Puts a row into the destination, by field; returns its primary key."""

    def __call__(self, model: str, **values: object) -> int: ...


class ImportOptions(TypedDict, total=False):
    """What an import may be told besides."""

    scope: Scope
    hide: bool
    merge_users: bool
    overwrite_configs: bool
    plan: Plan | None
    chunk_records: int
    progress: Callable[[str, int], None]


@dataclass
class Fate:
    """What became of a process that was to die."""

    statement: str = ""
    """Before which it died; empty where it came to its end."""


def _open(url: URL | str) -> Engine:
    dialect = make_url(url).get_backend_name()
    engine = prepare(create_engine(url, **engine_options(dialect)))
    if dialect == "sqlite":

        @event.listens_for(engine, "connect")
        def trust_the_disk(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")  # no test takes the power away
            connection.execute("PRAGMA journal_mode = MEMORY")

    return engine


class Databases:
    """Makes databases of one dialect, empty or with the embedded schema, and removes them."""

    def __init__(self, folder: Path, server: URL | None) -> None:
        self._folder = folder
        self._server = server
        self._numbers = count()
        self._name = f"d{uuid.uuid4().hex[:12]}"
        self._template: Engine | None = None
        self._read: dict[str, Engine] = {}

    @property
    def template(self) -> Engine:
        """The database with every table and no row: made once, copied for each test."""
        if self._template is None:
            # PostgreSQL copies no database to which a connection is open.
            self._template = create_engine(self.bare().url, poolclass=NullPool)
            create_embedded(self._template)
        return self._template

    def bare(self) -> Engine:
        """Make a database without any table."""
        return self._copy(None)

    def embedded(self) -> Engine:
        """Make a database with the embedded schema."""
        return self.copy_of(self.template)

    def copy_of(self, template: Engine) -> Engine:
        """Make a database like another, to which nobody may be connected.

        The tables of all copies are read once, until a test changes those of its own.
        """
        name = str(template.url.database)
        if name not in self._read:
            self._read[name] = read_once(template)
            reflect(self._read[name], load_catalogue().values())
        template.dispose()
        copy = read_once(self._copy(template), like=self._read[name])

        @event.listens_for(copy, "before_cursor_execute")
        def read_again(_connection: object, _cursor: object, sql: str, *_: object) -> None:
            if sql.lstrip().upper().startswith(("ALTER", "CREATE", "DROP")):
                copy.update_execution_options(**read_once(copy).get_execution_options())

        return copy

    def remove(self, engine: Engine) -> None:
        """Remove a database."""
        engine.dispose()
        if self._server is None:
            Path(str(engine.url.database)).unlink(missing_ok=True)
        else:
            self._administer(f"DROP DATABASE {engine.url.database} WITH (FORCE)")

    def _copy(self, template: Engine | None) -> Engine:
        name = f"{self._name}_{next(self._numbers)}"
        if self._server is None:
            path = self._folder / f"{name}.db"
            if template is not None:
                shutil.copy(str(template.url.database), path)
            return _open(f"sqlite:///{path}")
        of = f"TEMPLATE {template.url.database}" if template is not None else ""
        self._administer(f"CREATE DATABASE {name} {of}")
        return _open(self._server.set(database=name))

    def _administer(self, statement: str) -> None:
        assert self._server is not None
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
        with create_engine(self._server, **options).connect() as connection:
            connection.execute(text(statement))

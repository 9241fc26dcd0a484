"""Real destinations: a SQLite file or a PostgreSQL database, with the whole embedded schema."""

import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from real_tables import make_real_tables
from sqlalchemy import URL, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.pool import NullPool

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.database import engine_options, prepare
from relocation.transfer.database.schema import (
    ModelTable,
    create_embedded,
    create_own_tables,
    reflect,
)
from relocation.transfer.source import RecordList

FRESH_INSTALL = Path(__file__).parents[2].parent / "shared/exports/fresh-install.json"

DIALECTS = ("sqlite", "postgresql")

Rows = Callable[[str], list[dict[str, Any]]]


def _open(url: URL | str) -> Engine:
    dialect = make_url(url).get_backend_name()
    engine = prepare(create_engine(url, **engine_options(dialect)))
    if dialect == "sqlite":

        @event.listens_for(engine, "connect")
        def trust_the_disk(connection: Any, _record: Any) -> None:
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
        return self._copy(self.template)

    def copy_of(self, template: Engine) -> Engine:
        """Make a database like another, to which nobody may be connected."""
        template.dispose()
        return self._copy(template)

    def remove(self, engine: Engine) -> None:
        """Remove a database."""
        engine.dispose()
        if self._server is None:
            Path(engine.url.database).unlink(missing_ok=True)
        else:
            self._administer(f"DROP DATABASE {engine.url.database} WITH (FORCE)")

    def _copy(self, template: Engine | None) -> Engine:
        name = f"{self._name}_{next(self._numbers)}"
        if self._server is None:
            path = self._folder / f"{name}.db"
            if template is not None:
                shutil.copy(template.url.database, path)
            return _open(f"sqlite:///{path}")
        of = f"TEMPLATE {template.url.database}" if template is not None else ""
        self._administer(f"CREATE DATABASE {name} {of}")
        return _open(self._server.set(database=name))

    def _administer(self, statement: str) -> None:
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
        with create_engine(self._server, **options).connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="session", params=DIALECTS)
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """Every test that needs a database runs once with each dialect."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    return Databases(tmp_path_factory.mktemp(request.param), server)


@pytest.fixture
def make_destination(databases: Databases) -> Iterator[Callable[[], Engine]]:
    """Makes destinations, each a database of its own."""
    made: list[Engine] = []

    def make() -> Engine:
        made.append(databases.embedded())
        return made[-1]

    yield make
    for engine in made:
        databases.remove(engine)


@pytest.fixture
def destination(make_destination: Callable[[], Engine]) -> Engine:
    return make_destination()


@pytest.fixture
def bare_destination(databases: Databases) -> Iterator[Engine]:
    """A database without any table."""
    engine = databases.bare()
    yield engine
    databases.remove(engine)


@pytest.fixture(scope="session")
def real_template(databases: Databases) -> Iterator[Engine]:
    engine = databases.bare()
    with engine.begin() as connection:
        make_real_tables(connection)
    create_own_tables(engine)
    yield engine
    databases.remove(engine)


@pytest.fixture
def real(databases: Databases, real_template: Engine) -> Iterator[Engine]:
    """A destination whose tables are those of the real version, as it is."""
    engine = databases.copy_of(real_template)
    yield engine
    databases.remove(engine)


@pytest.fixture(scope="session")
def tables(databases: Databases) -> dict[str, ModelTable]:
    return reflect(databases.template, load_catalogue().values())


@pytest.fixture
def rows(destination: Engine, tables: dict[str, ModelTable]) -> Rows:
    """Reads all rows of a model, by field, in the order of their primary keys."""

    def read(model: str) -> list[dict[str, Any]]:
        table = tables[model]
        columns = [table.column(field).label(field) for field in table.fields]
        query = select(table.table.c.id, *columns).order_by(table.table.c.id)
        with destination.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    return read


@pytest.fixture
def add(destination: Engine, tables: dict[str, ModelTable]) -> Callable[..., int]:
    """Puts a row into the destination, by field; returns its primary key."""

    def put(model: str, **values: Any) -> int:
        table = tables[model]
        row = {table.column(field).name: value for field, value in values.items()}
        with destination.begin() as connection:
            return connection.execute(insert(table.table).values(row)).inserted_primary_key[0]

    return put


@pytest.fixture
def owner(add: Callable[..., int]) -> int:
    """A user who asked for a relocation."""
    return add(
        "sentry.user",
        username="olga",
        email="olga@example.org",
        password="!",
        is_active=True,
        is_staff=False,
        is_superuser=False,
        is_unclaimed=False,
        date_joined=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Fate:
    """What became of a process that was to die."""

    statement: str = ""
    """Before which it died; empty where it came to its end."""


@contextmanager
def _dying_at(engine: Engine, number: int) -> Iterator[Fate]:
    fate, left = Fate(), count(1)

    @event.listens_for(engine, "before_cursor_execute")
    def step(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        reflecting = "pg_catalog" in sql or "sqlite_master" in sql or sql.startswith("PRAGMA")
        if not reflecting and not fate.statement and next(left) == number:
            fate.statement = sql
            raise Killed

    @event.listens_for(engine, "commit")
    def commit(_connection: Any) -> None:
        if not fate.statement and next(left) == number:
            fate.statement = "COMMIT"
            raise Killed

    try:
        yield fate
    except Killed:
        pass
    finally:
        event.remove(engine, "before_cursor_execute", step)
        event.remove(engine, "commit", commit)


@pytest.fixture(scope="session")
def dying_at() -> Callable[[Engine, int], AbstractContextManager[Fate]]:
    """Kills the process before its nth statement or commit, save those that read the schema."""
    return _dying_at


class DictStorage:
    """A storage whose objects a test can look at."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def open(self, key: str) -> io.BytesIO:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return io.BytesIO(self.objects[key])

    def write(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


@pytest.fixture(scope="session")
def make_storage() -> Callable[[], DictStorage]:
    return DictStorage


@pytest.fixture
def storage() -> DictStorage:
    return DictStorage()


@pytest.fixture(scope="session")
def keys() -> tuple[str, str]:
    """A private key and its public half, as PEM."""
    private = create_private_key(2048)
    return private, public_key_of(private)


@pytest.fixture(scope="session")
def fresh_install() -> RecordList:
    """The reference's fresh installation, with all its models."""
    if not FRESH_INSTALL.exists():
        pytest.skip("the reference's export is not here")
    elements = json.loads(FRESH_INSTALL.read_text())
    return RecordList(
        (Record(one["model"], one["pk"], one["fields"]) for one in elements), load_catalogue()
    )

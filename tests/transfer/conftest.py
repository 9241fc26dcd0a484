"""Real destinations: a SQLite file or a PostgreSQL database, with the whole embedded schema."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from destinations import Add, Databases, Fate, Rows
from dict_storage import DictStorage
from real_tables import make_real_tables
from sqlalchemy import Engine, event, insert, select

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.transfer.database.schema import (
    ModelTable,
    create_own_tables,
    reflect,
)
from relocation.transfer.source import RecordList

FRESH_INSTALL = Path(__file__).parents[2].parent / "shared/exports/fresh-install.json"

DIALECTS = ("sqlite", "postgresql")


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
    """A destination with the embedded schema, and no row."""
    return make_destination()


@pytest.fixture
def bare_destination(databases: Databases) -> Iterator[Engine]:
    """A database without any table."""
    engine = databases.bare()
    yield engine
    databases.remove(engine)


@pytest.fixture(scope="session")
def real_template(databases: Databases) -> Iterator[Engine]:
    """The tables of the real version, to be copied."""
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
    """The tables of a destination, by model."""
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
def add(destination: Engine, tables: dict[str, ModelTable]) -> Add:
    """Puts a row into the destination, by field; returns its primary key."""

    def put(model: str, **values: object) -> int:
        table = tables[model]
        row = {table.column(field).name: value for field, value in values.items()}
        with destination.begin() as connection:
            key = connection.execute(insert(table.table).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    return put


@pytest.fixture
def owner(add: Add) -> int:
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


@contextmanager
def _dying_at(engine: Engine, number: int) -> Iterator[Fate]:
    fate, left = Fate(), count(1)

    @event.listens_for(engine, "before_cursor_execute")
    def step(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        reflecting = "pg_catalog" in sql or "sqlite_master" in sql or sql.startswith("PRAGMA")
        if not reflecting and not fate.statement and next(left) == number:
            fate.statement = sql
            raise Killed

    @event.listens_for(engine, "commit")
    def commit(_connection: object) -> None:
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


@pytest.fixture(scope="session")
def make_storage() -> Callable[[], DictStorage]:
    """Makes storages, each empty."""
    return DictStorage


@pytest.fixture
def storage() -> DictStorage:
    """An empty storage."""
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

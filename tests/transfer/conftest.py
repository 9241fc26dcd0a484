"""A real destination: a SQLite file with the whole embedded schema."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, select

from relocation.archive.record import Record
from relocation.catalogue import load_catalogue
from relocation.database import engine_options, prepare
from relocation.transfer.schema import ModelTable, create_embedded, reflect
from relocation.transfer.source import RecordList

FRESH_INSTALL = Path(__file__).parents[2].parent / "shared/exports/fresh-install.json"

Rows = Callable[[str], list[dict[str, Any]]]


def _open(path: Path) -> Engine:
    engine = prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))

    @event.listens_for(engine, "connect")
    def trust_the_disk(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # no test takes the power away

    return engine


@pytest.fixture(scope="session")
def embedded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with every table and no row: made once, copied for each test."""
    path = tmp_path_factory.mktemp("embedded") / "destination.db"
    create_embedded(_open(path))
    return path


@pytest.fixture
def make_destination(embedded_file: Path, tmp_path: Path) -> Callable[[], Engine]:
    """Makes destinations, each a file of its own."""
    numbers = count()
    return lambda: _open(shutil.copy(embedded_file, tmp_path / f"destination{next(numbers)}.db"))


@pytest.fixture
def destination(make_destination: Callable[[], Engine]) -> Engine:
    return make_destination()


@pytest.fixture
def bare_destination(tmp_path: Path) -> Engine:
    """A database without any table."""
    return _open(tmp_path / "bare.db")


@pytest.fixture(scope="session")
def tables(embedded_file: Path) -> dict[str, ModelTable]:
    return reflect(_open(embedded_file), load_catalogue().values())


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


@pytest.fixture(scope="session")
def fresh_install() -> RecordList:
    """The reference's fresh installation, with all its models."""
    if not FRESH_INSTALL.exists():
        pytest.skip("the reference's export is not here")
    elements = json.loads(FRESH_INSTALL.read_text())
    return RecordList(
        (Record(one["model"], one["pk"], one["fields"]) for one in elements), load_catalogue()
    )

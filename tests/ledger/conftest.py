"""A migrated ledger in a real SQLite file, and a clock that stands still."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from relocation.database import engine_options, prepare
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.migrate import migrate
from relocation.request import RelocationRequest


def _engine(path: Path) -> Engine:
    return prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "migrated.db"
    migrate(_engine(path))
    return path


@pytest.fixture
def empty_database(tmp_path: Path) -> Engine:
    return _engine(tmp_path / "empty.db")


@pytest.fixture
def ledger(tmp_path: Path, migrated_file: Path) -> Engine:
    shutil.copy(migrated_file, tmp_path / "ledger.db")
    return _engine(tmp_path / "ledger.db")


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def ask() -> Callable[..., RelocationRequest]:
    """Make a request."""

    def make(owner: str = "olivia", slug: str = "acme") -> RelocationRequest:
        return RelocationRequest(archive="archives/a.tar", organizations=[slug], owner=owner)

    return make


@pytest.fixture
def hold(ledger: Engine, ask: Callable[..., RelocationRequest], now: datetime) -> Hold:
    """The hold of a relocation that has just been opened."""
    return hold_of(open_relocation(ledger, "r-1", ask(), now))

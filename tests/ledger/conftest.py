"""A migrated ledger in a real SQLite file, and a clock that stands still."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledgers import at, sqlite_ledger
from sqlalchemy import Engine

from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.request import RelocationRequest


@pytest.fixture
def empty_database(tmp_path: Path) -> Engine:
    """A SQLite file without any table."""
    return sqlite_ledger(tmp_path / "empty.db")


@pytest.fixture
def file_ledger(tmp_path: Path, migrated_file: Path) -> Engine:
    """An empty ledger in a SQLite file."""
    shutil.copy(migrated_file, tmp_path / "ledger.db")
    return sqlite_ledger(tmp_path / "ledger.db")


@pytest.fixture
def ledger(file_ledger: Engine) -> Engine:
    """An empty ledger."""
    return file_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def either_ledger(request: pytest.FixtureRequest) -> Engine:
    """An empty ledger, on each database."""
    name = "file_ledger" if request.param == "sqlite" else "postgres_ledger"
    engine: Engine = request.getfixturevalue(name)
    return engine


@pytest.fixture
def now() -> datetime:
    """What the clock shows."""
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
    return hold_of(open_relocation(ledger, "r-1", ask(), at(now)))

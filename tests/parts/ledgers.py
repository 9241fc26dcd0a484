"""Ledgers in SQLite files, and the clock that one runs by."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, create_engine

from relocation.database import Clock, engine_options, prepare


def sqlite_ledger(path: Path) -> Engine:
    """Open a ledger as the service does."""
    return prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))


def at(now: datetime) -> Clock:
    """Return a clock that stands still."""
    return lambda _connection: now

"""Ledgers in SQLite files."""

from pathlib import Path

from sqlalchemy import Engine, create_engine

from relocation.database import engine_options, prepare


def sqlite_ledger(path: Path) -> Engine:
    """Open a ledger as the service does."""
    return prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))

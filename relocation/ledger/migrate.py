"""Bring the ledger's tables to the version this code needs."""

from contextlib import suppress
from pathlib import Path
from sqlite3 import OperationalError

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from relocation.database import reading

VERSION_TABLE = "relocation_ledger_version"
_LOCK = 0x52454C4F  # any number; PostgreSQL's advisory locks have no names


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables in one transaction; idempotent.

    Processes that do this at once wait for each other: SQLite begins as a writer, PostgreSQL takes
    an advisory lock. SQLite is to write ahead into a log: a commit is one wait for the disk instead
    of three.
    """
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        command.upgrade(_config(connection), "head")


def _write_ahead(engine: Engine) -> None:
    """Turn the log on, which stays so; where it cannot be, the old way goes on."""
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        (mode,) = cursor.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            with suppress(OperationalError):  # another process is at work
                cursor.execute("PRAGMA journal_mode = WAL")


def is_current(engine: Engine) -> bool:
    """Say whether the tables are those of this code."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        script = ScriptDirectory.from_config(_config(connection))
        return set(context.get_current_heads()) == set(script.get_heads())


def _config(connection: Connection) -> Config:
    config = Config()
    # Config takes a percent sign for an interpolation.
    location = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", location)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config

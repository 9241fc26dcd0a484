"""An empty database of Prefect's: migrated once, for each server a copy."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect

import prefect
import pytest

_MIGRATE = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


def migrated_database(folder: Path) -> Path:
    """Return the database that the folder has for this version of Prefect; make it if need be."""
    path = folder / f"{prefect.__version__}.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a test run share the folder
        if not path.exists():
            _migrate(path.with_suffix(".new")).replace(path)
    return path


def _migrate(path: Path) -> Path:
    path.unlink(missing_ok=True)
    url = f"sqlite+aiosqlite:///{path}"
    subprocess.run(
        [sys.executable, "-c", _MIGRATE],
        env={**os.environ, "PREFECT_SERVER_DATABASE_CONNECTION_URL": url},
        check=True,
    )
    with closing(connect(path)) as connection:  # what it wrote last stands in a file beside it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def place_database(migrated: Path, home: Path) -> Path:
    """Copy the database to where a server with this home looks for its own; returns the home."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated, home / "prefect.db")
    return home


@contextmanager
def prefect_harness(migrated: Path) -> Iterator[None]:
    """Do what Prefect's `prefect_test_harness` does, on a copy of the database."""
    from prefect.testing.utilities import prefect_test_harness

    def folder() -> str:
        made = tempfile.mkdtemp()
        shutil.copy(migrated, Path(made, "prefect-test.db"))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.mkdtemp", folder)
        with prefect_test_harness(server_startup_timeout=300):
            yield

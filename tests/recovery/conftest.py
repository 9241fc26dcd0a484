"""A migrated ledger, flow runs in memory, and a clock that a test moves."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledgers import sqlite_ledger
from memory_runs import MemoryRuns
from recovery_world import REQUEST, World

from relocation.model import RollBackReport
from relocation.recovery.context import RecoveryContext
from relocation.request import RelocationRequest
from relocation.settings import Settings


@pytest.fixture
def world(tmp_path: Path, migrated_file: Path) -> World:
    """An empty ledger, no runs, and noon."""
    shutil.copy(migrated_file, tmp_path / "ledger.db")

    def no_roll_back(*_: object, **__: object) -> RollBackReport:
        raise AssertionError("nothing was imported: nothing to undo")

    made = World.__new__(World)
    made.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    made.runs = MemoryRuns(lambda: made.now)
    made.context = RecoveryContext(
        # Said here: other tests of this process may have set them for theirs.
        Settings(_env_file=None, lease_seconds=30, resume_after=15, start_limit=300, backoff=60),
        sqlite_ledger(tmp_path / "ledger.db"),
        made.runs,
        no_roll_back,
        "host:2",
        clock=lambda: made.now,
    )
    return made


@pytest.fixture
def many() -> Callable[[object], RelocationRequest]:
    """Make requests of different owners."""

    def make(number: object) -> RelocationRequest:
        return REQUEST.model_copy(update={"owner": f"owner-{number}"})

    return make

"""A migrated ledger, flow runs in memory, and a clock that a test moves."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledgers import sqlite_ledger
from memory_runs import MemoryRuns

from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation, RollBackReport
from relocation.recovery.context import RecoveryContext
from relocation.recovery.runs import RunState
from relocation.request import RelocationRequest
from relocation.settings import Settings

REQUEST = RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")


@dataclass
class World:
    """What a test of recovery plays with."""

    context: RecoveryContext
    runs: MemoryRuns
    now: datetime

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def open(self, relocation_id: str = "r-1", request: RelocationRequest = REQUEST) -> Hold:
        """Let a process begin a relocation, or go on with it."""
        self.runs.put(relocation_id, RunState.RUNNING)
        opened = open_relocation(
            self.context.ledger,
            relocation_id,
            request,
            self.now,
            lease_seconds=self.context.settings.lease_seconds,
            worker="host:1",
        )
        return hold_of(opened)

    def stored(self, relocation_id: str = "r-1") -> Relocation:
        return get_relocation(self.context.ledger, relocation_id)


@pytest.fixture
def world(tmp_path: Path, migrated_file: Path) -> World:
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

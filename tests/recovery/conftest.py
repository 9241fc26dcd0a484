"""A migrated ledger, flow runs in memory, and a clock that a test moves."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledgers import sqlite_ledger

from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation, RollBackReport
from relocation.recovery.runs import Run, RunState, Turn
from relocation.recovery.settlement import Surroundings
from relocation.request import RelocationRequest
from relocation.settings import Settings

REQUEST = RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")


@dataclass
class MemoryRuns:
    """The server's flow runs, without the server."""

    clock: Callable[[], datetime]
    runs: dict[str, Run] = field(default_factory=dict)
    rescheduled: list[str] = field(default_factory=list)
    announced: list[tuple[str, Turn]] = field(default_factory=list)

    def read(self, relocation_ids: Collection[str]) -> dict[str, Run]:
        return {one: self.runs[one] for one in relocation_ids if one in self.runs}

    def unsuccessful(self, since: datetime) -> list[Run]:
        succeeded = {RunState.COMPLETED, RunState.SCHEDULED, RunState.PAUSED}
        return [
            run for run in self.runs.values() if run.state not in succeeded and run.since >= since
        ]

    def reschedule(self, relocation_id: str) -> None:
        self.rescheduled.append(relocation_id)
        self.put(relocation_id, RunState.SCHEDULED)

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        self.put(relocation_id, state, message)

    def announce(self, relocation: Relocation, turn: Turn) -> None:
        self.announced.append((relocation.id, turn))

    def put(self, relocation_id: str, state: RunState, message: str = "", **more: object) -> Run:
        run = Run(relocation_id, state, self.clock(), message, **more)
        self.runs[relocation_id] = run
        return run


@dataclass
class World:
    """What a test of recovery plays with."""

    around: Surroundings
    runs: MemoryRuns
    now: datetime

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def open(self, relocation_id: str = "r-1", request: RelocationRequest = REQUEST) -> Hold:
        """Let a process begin a relocation, or go on with it."""
        self.runs.put(relocation_id, RunState.RUNNING)
        opened = open_relocation(
            self.around.ledger,
            relocation_id,
            request,
            self.now,
            lease_seconds=self.around.settings.lease_seconds,
            worker="host:1",
        )
        return hold_of(opened)

    def stored(self, relocation_id: str = "r-1") -> Relocation:
        return get_relocation(self.around.ledger, relocation_id)


@pytest.fixture
def world(tmp_path: Path, migrated_file: Path) -> World:
    shutil.copy(migrated_file, tmp_path / "ledger.db")

    def no_roll_back(*_: object, **__: object) -> RollBackReport:
        raise AssertionError("nothing was imported: nothing to undo")

    made = World.__new__(World)
    made.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    made.runs = MemoryRuns(lambda: made.now)
    made.around = Surroundings(
        # Said here: other tests of this process may have set them for theirs.
        Settings(_env_file=None, lease_seconds=30, resume_after=15, start_limit=300),
        sqlite_ledger(tmp_path / "ledger.db"),
        made.runs,
        no_roll_back,
        "host:2",
        clock=lambda: made.now,
    )
    return made

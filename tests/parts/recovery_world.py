"""A ledger, flow runs in memory, and a clock that a test moves: tests/recovery/ plays with them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

from ledgers import at
from memory_runs import MemoryRuns

from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation
from relocation.recovery.context import RecoveryContext
from relocation.recovery.runs import RunState
from relocation.request import RelocationRequest

REQUEST = RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")


class Seen(TypedDict, total=False):
    """What whoever looks at a relocation may know of it: the keywords of `reconcile`."""

    error: BaseException | None
    own: Hold | None
    set_state: bool


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
            at(self.now),
            lease_seconds=self.context.settings.lease_seconds,
            worker="host:1",
        )
        return hold_of(opened)

    def stored(self, relocation_id: str = "r-1") -> Relocation:
        return get_relocation(self.context.ledger, relocation_id)

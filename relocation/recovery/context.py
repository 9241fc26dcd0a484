"""What recovery is handed: settings, ledger, flow runs, and the way to undo an import."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Engine

from relocation.model import RollBackReport
from relocation.recovery.runs import Runs
from relocation.settings import Settings


class RollBack(Protocol):
    """Removes from the destination what a relocation imported; see `transfer.load.rollback`."""

    def __call__(
        self, relocation_id: str, fence: int, *, revealed: bool, begin: Callable[[], None]
    ) -> RollBackReport: ...


@dataclass(frozen=True)
class RecoveryContext:
    """What ending or resuming a relocation works with."""

    settings: Settings
    ledger: Engine
    runs: Runs
    roll_back: RollBack
    worker: str
    """Names this process in the ledger."""
    clock: Callable[[], datetime]
    """The ledger's clock: workers' own may differ."""

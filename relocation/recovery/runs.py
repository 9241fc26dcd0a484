"""The flow runs of relocations, as the plain part sees them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from relocation.model import Relocation
from relocation.steps import LifecycleEvent


class RunState(StrEnum):
    """The state of a flow run, by Prefect's own names of its types."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"


ENDS = (RunState.COMPLETED, RunState.FAILED, RunState.CRASHED, RunState.CANCELLED)


@dataclass(frozen=True)
class Run:
    """A relocation's flow run as the server has it."""

    id: str
    state: RunState
    since: datetime
    """When it came into this state."""
    message: str = field(default="", repr=False)
    """What the server says of the state; for operators alone."""
    deployed: bool = True
    """Whether it can be scheduled again: a run without a deployment cannot."""
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The parameter it was given, whatever it holds."""
    raised: bool = False
    """Whether the flow itself failed, by an error; else a person or Prefect set the state."""
    suspension: str = ""
    """The key under which it was suspended, while it is."""


class Runs(Protocol):
    """The server's flow runs of the relocate flow."""

    def read(self, relocation_ids: Collection[str]) -> dict[str, Run]:
        """Return the runs that the server has, by relocation."""
        ...

    def unsuccessful(self, since: datetime) -> list[Run]:
        """Return the runs since then that are at work or ended without success, newest first."""
        ...

    def was_resumed(self, relocation_id: str, suspension: str, since: datetime | None) -> bool:
        """Say whether the run was scheduled again after it was suspended.

        The suspension is the one that began at `since`, else the one with this key.
        """
        ...

    def reschedule(self, relocation_id: str, delay: timedelta = timedelta()) -> None:
        """Let a run whose process is gone begin again, as Retry in the Prefect UI does."""
        ...

    def suspend(self, run: Run, suspension: str, limit: timedelta) -> Run:
        """Suspend a run under a key that was never used for it, and return it as it then is.

        It can be resumed within the limit. A run that goes on or is cancelled by now is left.
        """
        ...

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        """Set the state of a run; of one whose process is gone unless the state is CANCELLING."""
        ...

    def announce(self, relocation: Relocation, event: LifecycleEvent) -> None:
        """Tell whoever listens to events what the ledger has recorded; never raises.

        The relocation is as it is since then. Not everything that happens is told.
        """
        ...

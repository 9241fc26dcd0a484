"""Open what reconciling works with, from the blocks."""

from collections.abc import Callable

from sqlalchemy import Engine

from relocation.model import RollBackReport
from relocation.prefect_api.blocks import load_destination, load_ledger
from relocation.prefect_api.flow_runs import FlowRuns
from relocation.process import worker_name
from relocation.recovery.settlement import Surroundings
from relocation.settings import Settings
from relocation.transfer.load.rollback import roll_back


def surroundings(ledger: Engine | None = None) -> Surroundings:
    """Return ledger, flow runs and settings as they are now; the destination only when needed.

    The ledger is opened from its block where none is at hand.
    """
    settings = Settings()

    def undo(
        relocation_id: str, fence: int, *, revealed: bool, begin: Callable[[], None]
    ) -> RollBackReport:
        destination = load_destination(settings)
        return roll_back(destination, relocation_id, fence, revealed=revealed, begin=begin)

    return Surroundings(
        settings,
        ledger or load_ledger(settings),
        FlowRuns(),
        undo,
        worker_name(),
    )

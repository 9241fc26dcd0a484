"""Open what reconciling works with, from the blocks."""

from functools import partial

from sqlalchemy import Engine

from relocation.prefect_api.blocks import load_destination, load_ledger
from relocation.prefect_api.flow_runs import FlowRuns
from relocation.process import worker_name
from relocation.recovery.ending import Surroundings
from relocation.settings import Settings


def surroundings(ledger: Engine | None = None) -> Surroundings:
    """Return ledger, flow runs and settings as they are now; the destination only when needed.

    The ledger is opened from its block where none is at hand.
    """
    settings = Settings()
    return Surroundings(
        settings,
        ledger or load_ledger(settings),
        FlowRuns(),
        partial(load_destination, settings),
        worker_name(),
    )

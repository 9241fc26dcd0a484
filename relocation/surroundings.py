"""Open what reconciling works with, from the blocks."""

from functools import partial

from relocation.blocks import load_destination, load_ledger
from relocation.flow_runs import FlowRuns
from relocation.process import worker_name
from relocation.recovery.ending import Surroundings
from relocation.settings import Settings


def surroundings() -> Surroundings:
    """Return ledger, flow runs and settings as they are now; the destination only when needed."""
    settings = Settings()
    return Surroundings(
        settings,
        load_ledger(settings),
        FlowRuns(),
        partial(load_destination, settings),
        worker_name(),
    )

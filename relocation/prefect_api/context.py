"""Open the context of a recovery from the blocks."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from sqlalchemy import Engine

from relocation.database import database_now
from relocation.model import RenewedClaims, RollBackReport
from relocation.prefect_api.blocks import load_destination, load_ledger
from relocation.prefect_api.flow_runs import RELOCATE, FlowRuns
from relocation.process import worker_name
from relocation.recovery.claims import RenewTokens
from relocation.recovery.context import RecoveryContext
from relocation.settings import Settings
from relocation.transfer.load.claims import renew_claims
from relocation.transfer.load.rollback import roll_back


def token_renewal(settings: Settings) -> RenewTokens:
    """Return what writes fresh claim tokens into the destination of the settings."""

    def renew(
        relocation_id: str, fence: int, expected: Mapping[str, str], now: datetime
    ) -> RenewedClaims:
        destination = load_destination(settings)
        return renew_claims(destination, relocation_id, fence, expected, now)

    return renew


def recovery_context(settings: Settings, ledger: Engine | None = None) -> RecoveryContext:
    """Return ledger, flow runs and settings as they are now; the destination only when needed.

    The ledger is opened from its block where none is at hand.
    """
    ledger = ledger or load_ledger(settings)

    def undo(
        relocation_id: str, fence: int, *, revealed: bool, begin: Callable[[], None]
    ) -> RollBackReport:
        destination = load_destination(settings)
        return roll_back(destination, relocation_id, fence, revealed=revealed, begin=begin)

    return RecoveryContext(
        settings,
        ledger,
        FlowRuns(settings.named(RELOCATE)),
        undo,
        worker_name(),
        clock=partial(database_now, ledger),
    )

"""End a relocation without success: undo what a cancelled one imported, then settle it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from sqlalchemy import Engine

from relocation.errors import CommandError
from relocation.ledger.control import forget_import
from relocation.ledger.holds import Hold, release, take_hold
from relocation.ledger.lease import LeaseKeeper
from relocation.ledger.relocations import get_relocation
from relocation.ledger.settle import Settlement
from relocation.ledger.tables import utc_now
from relocation.ledger.tries import done_result, was_tried
from relocation.model import Relocation, RollBackReport
from relocation.recovery.runs import Runs, Turn
from relocation.recovery.settlement import DeadRun, settle_run
from relocation.settings import Settings
from relocation.steps import Task


class RollBack(Protocol):
    """Removes from the destination what a relocation imported; see `transfer.load.rollback`."""

    def __call__(self, relocation_id: str, fence: int, *, revealed: bool) -> RollBackReport: ...


@dataclass(frozen=True)
class Surroundings:
    """What reconciling works with."""

    settings: Settings
    ledger: Engine
    runs: Runs
    roll_back: RollBack
    worker: str
    """Names this process in the ledger."""
    clock: Callable[[], datetime] = utc_now


def end(
    around: Surroundings,
    dead: DeadRun,
    relocation: Relocation | None,
    own: Hold | None = None,
) -> Settlement | None:
    """Settle a relocation as FAILURE or CANCELLED, with its notices; idempotent.

    What a cancelled one has imported is rolled back first, as long as nobody could see it and no
    row of others hangs on it; one that fails keeps it, hidden, for a rerun. Returns None where it
    was settled or taken over before. Raises what rolling back raises: the relocation then stays as
    it is, to be ended later.
    """
    rolled_back = False
    if dead.cancelled and relocation is not None and _may_have_imported(around.ledger, relocation):
        hold = take_hold(
            around.ledger,
            relocation,
            lease_seconds=around.settings.lease_seconds,
            worker=around.worker,
            own=own,
            now=around.clock(),
        )
        if hold is None:
            return None
        own = hold
        try:
            undo_import(around, hold)
            rolled_back = True
        except CommandError as err:
            # What people work with by now is theirs: the relocation ends, and leaves it to them.
            dead = replace(dead, message=f"not rolled back: {err}\n\n{dead.message}")
        except BaseException:
            release(around.ledger, hold)  # whoever goes on need not wait
            raise
    settlement = settle_run(
        around.ledger,
        dead,
        around.settings,
        relocation=relocation,
        own=own,
        rolled_back=rolled_back,
    )
    if settlement is not None:
        turn = Turn.CANCELLED if dead.cancelled else Turn.FAILED
        around.runs.announce(get_relocation(around.ledger, dead.relocation_id), turn)
    return settlement


def undo_import(around: Surroundings, hold: Hold, *, revealed: bool = False) -> RollBackReport:
    """Remove what a relocation imported, under a hold; idempotent, and goes on where it stopped.

    A later rerun imports anew. Raises FencedOut, and PermanentError where rows that others added
    since then hang on what was imported, or where organizations are revealed and `revealed` does
    not allow for that.
    """
    forget_import(around.ledger, hold)
    settings = around.settings
    with LeaseKeeper(
        around.ledger,
        hold,
        every=settings.lease_renewal,
        lease_seconds=settings.lease_seconds,
        lost=lambda: None,  # the destination's own fence refuses the next transaction
    ):
        return around.roll_back(hold.relocation_id, hold.fence, revealed=revealed)


def _may_have_imported(ledger: Engine, relocation: Relocation) -> bool:
    """Say whether hidden rows of the relocation may lie in the destination."""
    if done_result(ledger, relocation.id, Task.REVEAL_ORGANIZATIONS) is not None:
        return False
    return was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS)

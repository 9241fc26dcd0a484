"""Tell the operator of a relocation that needs a person; each matter once a round."""

from collections.abc import Sequence
from datetime import timedelta

from relocation.errors import RelocationError
from relocation.ledger.outbox import enqueue
from relocation.model import Relocation
from relocation.notices.kinds import Draft
from relocation.notices.operator import Operator, stuck_drafts, unsettled_drafts
from relocation.recovery.settlement import Surroundings
from relocation.steps import Status


def tell_if_stuck(around: Surroundings, relocation: Relocation) -> bool:
    """Queue the operator's notice where an abandoned relocation is silent beyond its bound.

    A paused one waits for a person anyway, who knows. Returns whether the notice is new.
    """
    silent = around.clock() - relocation.updated_at
    bound = timedelta(seconds=around.settings.stuck_after)
    if relocation.status is Status.PAUSED or silent <= bound:
        return False
    drafts = stuck_drafts(
        Operator.of(around.settings),
        relocation.organizations,
        status=relocation.status,
        step=relocation.step,
        since=relocation.updated_at,
    )
    return _tell(around, relocation, drafts)


def tell_unsettled(around: Surroundings, relocation: Relocation, error: Exception) -> bool:
    """Queue the operator's notice that a relocation's end could not be recorded, or not undone."""
    why = error.internal or error.reason if isinstance(error, RelocationError) else str(error)
    drafts = unsettled_drafts(
        Operator.of(around.settings),
        relocation.organizations,
        why=f"{type(error).__name__}: {why}",
    )
    return _tell(around, relocation, drafts)


def _tell(around: Surroundings, relocation: Relocation, drafts: Sequence[Draft]) -> bool:
    with around.ledger.begin() as connection:
        new = enqueue(
            connection,
            relocation.id,
            relocation.round,
            drafts,
            sender_domain=around.settings.sender_domain,
            now=around.clock(),
        )
    return bool(new)

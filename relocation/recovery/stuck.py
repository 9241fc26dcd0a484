"""Tell the operator of a relocation that does not go on and that nobody works on."""

from datetime import timedelta

from relocation.ledger.outbox import enqueue
from relocation.ledger.relocations import Relocation
from relocation.operator_notice import stuck_draft
from relocation.recovery.ending import Surroundings
from relocation.steps import Status


def tell_if_stuck(around: Surroundings, relocation: Relocation) -> bool:
    """Queue the operator's notice where an abandoned relocation is silent beyond its bound.

    Told once a round, however often a sweep finds it. A paused one waits for a person anyway, who
    knows. Returns whether the notice is new.
    """
    silent = around.clock() - relocation.updated_at
    bound = timedelta(seconds=around.settings.stuck_after)
    if relocation.status is Status.PAUSED or silent <= bound:
        return False
    settings = around.settings
    draft = stuck_draft(
        settings.operator_email,
        relocation.organizations,
        status=relocation.status,
        step=relocation.step,
        since=relocation.updated_at,
    )
    with around.ledger.begin() as connection:
        new = enqueue(
            connection,
            relocation.id,
            relocation.round,
            [draft],
            sender_domain=settings.sender_domain,
            now=around.clock(),
        )
    return bool(new)

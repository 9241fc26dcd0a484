"""Record an end state together with its notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select, update

from relocation.errors import MAX_REASON
from relocation.ledger.outbox import enqueue
from relocation.ledger.relocations import insert_relocation, unknown_relocation
from relocation.ledger.tables import relocations, utc_now
from relocation.ledger.tries import interrupt_open_tries
from relocation.notices.kinds import Draft
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task
from relocation.text import one_line

UNEXPLAINED = "The relocation stopped because of a fault on our side."
_FINAL = (Status.SUCCESS, Status.CANCELLED)


@dataclass(frozen=True)
class Settlement:
    """How a relocation ended, and who is told; success has its own way (`tries.succeed`)."""

    status: Status
    """FAILURE or CANCELLED."""
    reason: str
    """A sentence for its owner; where it is empty, one of ours stands in for it (W-3)."""
    failed_task: Task | None = None
    internal_error: str = ""
    """For operators alone."""
    drafts: Sequence[Draft] = ()

    def __post_init__(self) -> None:
        if self.status not in (Status.FAILURE, Status.CANCELLED):
            raise ValueError(f"nothing is settled as {self.status} here")

    @property
    def bounded_reason(self) -> str:
        """The reason as one line that is not empty and can always be stored (W-3, W-4)."""
        own = POLICIES[self.failed_task].reason if self.failed_task else UNEXPLAINED
        return one_line(self.reason, limit=MAX_REASON) or own


def settle(
    engine: Engine,
    relocation_id: str,
    settlement: Settlement,
    *,
    sender_domain: str,
    request: RelocationRequest | None = None,
    now: datetime | None = None,
) -> bool:
    """Settle the relocation's round, with its notices, in one transaction; idempotent.

    A relocation that the ledger does not have is created from the request, whatever it holds: its
    run was refused before it opened one. False, and nothing changes, where the round is settled
    already or the relocation has ended for good (R-10). Raises PermanentError where there is
    neither a relocation nor a request.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        if request is not None:
            insert_relocation(connection, relocation_id, request, round_=1, now=now)
        unsettled = (
            relocations.c.id == relocation_id,
            relocations.c.settled_round < relocations.c.round,
            relocations.c.status.not_in(_FINAL),
        )
        settled_round = connection.execute(
            update(relocations)
            .where(*unsettled)
            .values(
                status=settlement.status,
                reason=settlement.bounded_reason,
                failed_task=settlement.failed_task,
                internal_error=settlement.internal_error,
                settled_round=relocations.c.round,
                settled_at=now,
                updated_at=now,
            )
            .returning(relocations.c.round)
        ).scalar_one_or_none()
        if settled_round is None:
            known = select(relocations.c.id).where(relocations.c.id == relocation_id)
            if connection.execute(known).one_or_none() is None:
                raise unknown_relocation(relocation_id)
            return False
        interrupt_open_tries(connection, relocation_id, settled_round, now)
        enqueue(
            connection,
            relocation_id,
            settled_round,
            settlement.drafts,
            sender_domain=sender_domain,
            now=now,
        )
    return True

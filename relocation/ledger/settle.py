"""Record an end state together with its notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select, update

from relocation.errors import MAX_REASON
from relocation.ledger.history import record_event
from relocation.ledger.holds import Seen, is_free
from relocation.ledger.outbox import enqueue
from relocation.ledger.relocations import insert_relocation, unknown_relocation
from relocation.ledger.tables import is_open, relocations
from relocation.ledger.tries import interrupt_open_tries
from relocation.notices.kinds import NoticeDraft
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, LifecycleEvent, Status, Task
from relocation.text import one_line

UNEXPLAINED = "The relocation stopped because of a problem on our side."
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
    cause: str | None = None
    """What failures with one cause have in common."""
    drafts: Sequence[NoticeDraft] = ()

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
    seen: Seen | None,
    request: RelocationRequest | None = None,
    now: datetime,
) -> LifecycleEvent | None:
    """Settle the relocation's round, with its notices, in one transaction; idempotent.

    `seen` is None where the caller saw no relocation. Returns None, and nothing changes, where the
    round is settled already or the relocation has ended for good (R-10), where it was taken over
    since, and where another process still holds it (DESIGN 6.6). A relocation that the ledger does
    not have is created from the request, whatever it holds: its run was refused before it opened
    one. Raises PermanentError where there is neither a relocation nor a request. In place of the
    reference's `fail_relocation`.
    """
    with engine.begin() as connection:
        if request is not None:
            insert_relocation(connection, relocation_id, request, round_=1, now=now)
        unsettled = (
            relocations.c.id == relocation_id,
            is_open,
            relocations.c.status.not_in(_FINAL),
            is_free(seen, now),
        )
        settled_round = connection.execute(
            update(relocations)
            .where(*unsettled)
            .values(
                status=settlement.status,
                reason=settlement.bounded_reason,
                failed_task=settlement.failed_task,
                internal_error=settlement.internal_error,
                cause=settlement.cause,
                settled_round=relocations.c.round,
                settled_at=now,
                updated_at=now,
                lease_until=None,
                pause_before_step=None,
                cancel_before_step=None,
            )
            .returning(relocations.c.round)
        ).scalar_one_or_none()
        if settled_round is None:
            known = select(relocations.c.id).where(relocations.c.id == relocation_id)
            if connection.execute(known).one_or_none() is None:
                raise unknown_relocation(relocation_id)
            return None
        interrupt_open_tries(connection, relocation_id, settled_round, now)
        cancelled = settlement.status is Status.CANCELLED
        what = LifecycleEvent.CANCELLED if cancelled else LifecycleEvent.FAILED
        event = record_event(
            connection, relocation_id, settled_round, what, at=now, detail=settlement.bounded_reason
        )
        enqueue(
            connection,
            relocation_id,
            settled_round,
            settlement.drafts,
            sender_domain=sender_domain,
            now=now,
        )
    return event

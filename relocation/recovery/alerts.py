"""Alert operators: of a failure that is theirs to mend, and of what needs a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from relocation.errors import RelocationError, TriesUsedUpError, needs_operator
from relocation.ledger.outbox import enqueue
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import Try, last_try, tries_used
from relocation.model import Relocation
from relocation.notices.failure import Destination
from relocation.notices.faults import INTERRUPTED, UNEXPLAINED, fault_of, kind_of
from relocation.notices.kinds import MAX_CAUSE, NoticeDraft, Window
from relocation.notices.operator import Operator, failed_drafts, stuck_drafts, unsettled_drafts
from relocation.recovery.context import RecoveryContext
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status
from relocation.text import one_line

_RAISED = (TryOutcome.FAILED, TryOutcome.REFUSED)


@dataclass(frozen=True)
class FailureAlert:
    """What operators are told of a failure, and the cause that it shares with others."""

    cause: str
    drafts: list[NoticeDraft]


def failure_alert(
    ledger: Engine,
    settings: Settings,
    about: Relocation | RelocationRequest,
    error: BaseException | None,
    *,
    reason: str,
    advice: str,
    destination: Destination,
    now: datetime,
) -> FailureAlert:
    """Return the cause of a failure, and the OPERATOR notices of one its owner cannot fix.

    The process that settles need not be the one in which the task failed: what the ledger says of
    the last try comes before what was raised after it.
    """
    relocation = about if isinstance(about, Relocation) else None
    last = last_try(ledger, relocation.id, relocation.round) if relocation else None
    fault = _fault(last, error)
    task = relocation.task if relocation else None
    cause = one_line(f"{task or 'begin_relocation'}:{kind_of(fault)}", limit=MAX_CAUSE)
    if not needs_operator(advice):
        return FailureAlert(cause, [])
    tries = 0
    if relocation is not None and task is not None:
        tries = tries_used(ledger, relocation.id, relocation.round, task)
    drafts = failed_drafts(
        Operator.of(settings),
        about.organizations,
        task=task,
        tries=tries,
        reason=reason,
        fault=fault,
        destination=destination,
        window=Window(cause, timedelta(seconds=settings.operator_window)),
        now=now,
    )
    return FailureAlert(cause, drafts)


def _fault(last: Try | None, error: BaseException | None) -> str:
    if last is not None and last.outcome in _RAISED and last.fault:
        return last.fault
    interrupted = last is not None and last.outcome in (TryOutcome.INTERRUPTED, None)
    if interrupted and (error is None or isinstance(error, TriesUsedUpError)):
        return INTERRUPTED
    return fault_of(error) if error is not None else UNEXPLAINED


def alert_if_stuck(context: RecoveryContext, relocation: Relocation) -> bool:
    """Queue the operator's notice where an abandoned relocation is silent beyond its bound.

    A paused one waits for a person anyway, who knows. Returns whether the notice is new.
    """
    silent = context.clock() - relocation.updated_at
    bound = timedelta(seconds=context.settings.stuck_after)
    if relocation.status is Status.PAUSED or silent <= bound:
        return False
    drafts = stuck_drafts(
        Operator.of(context.settings),
        relocation.organizations,
        status=relocation.status,
        step=relocation.step,
        since=relocation.updated_at,
    )
    return _tell(context, relocation, drafts)


def alert_unsettled(context: RecoveryContext, relocation: Relocation, error: Exception) -> bool:
    """Queue the operator's notice that a relocation's end could not be recorded, or not undone."""
    why = error.internal or error.reason if isinstance(error, RelocationError) else str(error)
    drafts = unsettled_drafts(
        Operator.of(context.settings),
        relocation.organizations,
        why=f"{type(error).__name__}: {why}",
    )
    return _tell(context, relocation, drafts)


def _tell(context: RecoveryContext, relocation: Relocation, drafts: Sequence[NoticeDraft]) -> bool:
    with context.ledger.begin() as connection:
        new = enqueue(
            connection,
            relocation.id,
            relocation.round,
            drafts,
            sender_domain=context.settings.sender_domain,
            now=context.clock(),
        )
    return bool(new)

"""Tell operators of a failure that is theirs to fix, in the transaction that settles it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from relocation.errors import TriesUsedUpError, needs_operator
from relocation.faults import INTERRUPTED, UNEXPLAINED, fault_of, kind_of
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import Try, last_try, tries_used
from relocation.model import Relocation
from relocation.notices.failure import Destination
from relocation.notices.kinds import MAX_CAUSE, Draft, Window
from relocation.notices.operator import Operator, failed_drafts
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.text import one_line

_RAISED = (TryOutcome.FAILED, TryOutcome.REFUSED)


@dataclass(frozen=True)
class Telling:
    """What operators are told of a failure, and the cause that it shares with others."""

    cause: str
    drafts: list[Draft]


def tell_operators(
    ledger: Engine,
    settings: Settings,
    about: Relocation | RelocationRequest,
    error: BaseException | None,
    *,
    reason: str,
    advice: str,
    destination: Destination,
    now: datetime,
) -> Telling:
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
        return Telling(cause, [])
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
    return Telling(cause, drafts)


def _fault(last: Try | None, error: BaseException | None) -> str:
    if last is not None and last.outcome in _RAISED and last.fault:
        return last.fault
    interrupted = last is not None and last.outcome in (TryOutcome.INTERRUPTED, None)
    if interrupted and (error is None or isinstance(error, TriesUsedUpError)):
        return INTERRUPTED
    return fault_of(error) if error is not None else UNEXPLAINED

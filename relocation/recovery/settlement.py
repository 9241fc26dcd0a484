"""Record how a relocation failed together with its notices, whoever noticed it."""

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from relocation.errors import NOTHING_TO_DO, DifferencesError, RelocationError
from relocation.ledger.holds import Hold
from relocation.ledger.settle import UNEXPLAINED, Settlement, settle
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import done_result, last_try, was_tried
from relocation.model import Relocation
from relocation.notices.failure import Destination, cancelled_drafts, failure_drafts
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status, Task

CANCELLED = "The relocation was cancelled by an operator."


@dataclass(frozen=True)
class DeadRun:
    """What is known of a flow run that ended without success."""

    relocation_id: str
    cancelled: bool
    error: BaseException | None
    """What was raised, where this process saw it."""
    message: str
    """What Prefect says of the run's state; for the ledger, never for a mail."""
    request: dict[str, Any]
    """The run's own parameter, for a run that failed before it opened a relocation."""


def settle_run(
    ledger: Engine,
    run: DeadRun,
    settings: Settings,
    *,
    relocation: Relocation | None = None,
    own: Hold | None = None,
    rolled_back: bool = False,
) -> Settlement | None:
    """Settle a relocation whose run is dead: status, reason, failed task and notices in one go.

    `relocation` is as the caller saw it, `own` the hold that the caller may have on it. Returns the
    settlement, or None where there was nothing to settle: this round was settled before, or another
    process has the relocation. Idempotent, whoever calls it.
    """
    settlement = _settlement(ledger, run, relocation, settings, rolled_back)
    seen = relocation.fence if relocation else 0
    settled = settle(
        ledger,
        run.relocation_id,
        settlement,
        sender_domain=settings.sender_domain,
        fence=own.fence if own else seen,
        own=own,
        request=tolerant_request(run.request),
    )
    return settlement if settled else None


def tolerant_request(parameters: dict[str, Any]) -> RelocationRequest:
    """Make what can be made of an invalid request, so that its failure can be recorded."""
    slugs = parameters.get("organizations")
    slugs = slugs if isinstance(slugs, list) else []
    creator = parameters.get("creator")
    return RelocationRequest(
        archive=str(parameters.get("archive") or ""),
        organizations=[slug for slug in slugs if isinstance(slug, str)],
        owner=str(parameters.get("owner") or ""),
        creator=creator if isinstance(creator, str) else None,
    )


def _settlement(
    ledger: Engine,
    run: DeadRun,
    relocation: Relocation | None,
    settings: Settings,
    rolled_back: bool,
) -> Settlement:
    about = relocation or tolerant_request(run.request)
    reason, advice = _why(ledger, run, relocation, settings)
    destination = destination_state(ledger, relocation, rolled_back=rolled_back)
    operator, now = settings.operator_email, datetime.now(UTC)
    if run.cancelled:
        drafts = cancelled_drafts(about, destination=destination, operator=operator, now=now)
    else:
        drafts = failure_drafts(
            about,
            reason=reason,
            advice=advice,
            findings=run.error.findings if isinstance(run.error, DifferencesError) else (),
            destination=destination,
            operator=operator,
            now=now,
        )
    return Settlement(
        status=Status.CANCELLED if run.cancelled else Status.FAILURE,
        reason=reason,
        failed_task=relocation.task if relocation else None,
        internal_error=_internal(ledger, run, relocation),
        drafts=drafts,
    )


def _why(
    ledger: Engine, run: DeadRun, relocation: Relocation | None, settings: Settings
) -> tuple[str, str]:
    """Return the reason and the advice of a failure: what was raised, else what the ledger knows.

    The process that settles need not be the one in which the task failed.
    """
    if run.cancelled:
        return CANCELLED, ""
    if isinstance(run.error, RelocationError):
        return run.error.reason, run.error.next_step
    if relocation is None or relocation.task is None:
        return UNEXPLAINED, NOTHING_TO_DO
    policy = settings.policy(relocation.task)
    last = last_try(ledger, relocation.id, relocation.round)
    if last is None or last.outcome is TryOutcome.DONE:
        return UNEXPLAINED, NOTHING_TO_DO
    if last.reason and run.error is None:
        return last.reason, last.advice or NOTHING_TO_DO
    if last.outcome is TryOutcome.INTERRUPTED or last.outcome is None:
        times = "once" if last.number == 1 else f"{last.number} times"
        return f"{policy.reason.rstrip('.')}: it was interrupted {times}.", NOTHING_TO_DO
    return policy.reason, NOTHING_TO_DO


def _internal(ledger: Engine, run: DeadRun, relocation: Relocation | None) -> str:
    if run.error is not None:
        return "".join(traceback.format_exception(run.error))
    last = last_try(ledger, relocation.id, relocation.round) if relocation else None
    told = [run.message, last.error if last else None]
    return "\n\n".join(text for text in told if text)


def destination_state(
    ledger: Engine, relocation: Relocation | None, *, rolled_back: bool = False
) -> Destination:
    """Say what a relocation has left in the destination, as far as the ledger knows."""
    if relocation is None:
        return Destination.UNCHANGED
    begun = was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS)
    if rolled_back:
        return Destination.REMOVED if begun else Destination.UNCHANGED
    if done_result(ledger, relocation.id, Task.REVEAL_ORGANIZATIONS) is not None:
        return Destination.VISIBLE
    return Destination.HIDDEN if begun else Destination.UNCHANGED

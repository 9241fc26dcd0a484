"""Record how a relocation failed together with its notices, whoever noticed it."""

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from relocation.errors import NOTHING_TO_DO, FencedOut, RelocationError
from relocation.ledger.relocations import Relocation, find_relocation
from relocation.ledger.settle import UNEXPLAINED, Settlement, settle
from relocation.ledger.tries import done_result, was_tried
from relocation.notices.kinds import Draft, NoticeKind
from relocation.people import addressees
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


def settle_run(ledger: Engine, run: DeadRun, settings: Settings) -> Settlement | None:
    """Settle a relocation whose run is dead: status, reason, failed task and notices in one go.

    Returns the settlement, or None where there was nothing to settle: this round was settled
    before, or another process has taken the relocation over. Idempotent, whoever calls it.
    """
    if isinstance(run.error, FencedOut):
        return None  # the relocation is another process's now, and so is its end
    relocation = find_relocation(ledger, run.relocation_id)
    settlement = _settlement(ledger, run, relocation, settings)
    settled = settle(
        ledger,
        run.relocation_id,
        settlement,
        sender_domain=settings.sender_domain,
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
    ledger: Engine, run: DeadRun, relocation: Relocation | None, settings: Settings
) -> Settlement:
    task = relocation.task if relocation else None
    asked = relocation.request if relocation else tolerant_request(run.request)
    reason = _reason(run, relocation, settings)
    kind = NoticeKind.CANCELLED if run.cancelled else NoticeKind.FAILED
    context: dict[str, Any] = {
        "organizations": asked.organizations,
        "destination_state": _destination_state(ledger, relocation),
        "happened_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    error = run.error
    if kind is NoticeKind.FAILED:
        context |= {
            "reason": reason,
            "next_step": error.next_step if isinstance(error, RelocationError) else NOTHING_TO_DO,
            "round": relocation.round if relocation else 1,
        }
    operator = settings.operator_email
    recipients = addressees(relocation, otherwise=operator) if relocation else [operator]
    return Settlement(
        status=Status.CANCELLED if run.cancelled else Status.FAILURE,
        reason=reason,
        failed_task=task,
        internal_error=_internal(run),
        drafts=[Draft(kind, recipient, context) for recipient in recipients],
    )


def _reason(run: DeadRun, relocation: Relocation | None, settings: Settings) -> str:
    if run.cancelled:
        return CANCELLED
    if isinstance(run.error, RelocationError):
        return run.error.reason
    task = relocation.task if relocation else None
    return settings.policy(task).reason if task else UNEXPLAINED


def _internal(run: DeadRun) -> str:
    if run.error is None:
        return run.message
    return "".join(traceback.format_exception(run.error))


def _destination_state(ledger: Engine, relocation: Relocation | None) -> str:
    if relocation is None:
        return "unchanged"
    if done_result(ledger, relocation.id, Task.REVEAL_ORGANIZATIONS) is not None:
        return "visible"
    begun = was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS)
    return "hidden" if begun else "unchanged"

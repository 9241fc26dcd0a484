"""Record how a relocation failed together with its notices, whoever noticed it."""

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from relocation.errors import NOTHING_TO_DO, RelocationError
from relocation.ledger.relocations import Relocation, find_relocation
from relocation.ledger.settle import UNEXPLAINED, Settlement, settle
from relocation.ledger.tries import done_result, was_tried
from relocation.notices.kinds import Draft, NoticeKind
from relocation.people import addressees
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status, Task


@dataclass(frozen=True)
class Failure:
    """What is known of a run that failed."""

    relocation_id: str
    error: BaseException | None
    """What was raised, where this process saw it."""
    message: str
    """What Prefect says of the run's state; for the ledger, never for a mail."""
    request: dict[str, Any]
    """The run's own parameter, for a run that failed before it opened a relocation."""


def settle_failure(ledger: Engine, failure: Failure, settings: Settings) -> str | None:
    """Settle a failed relocation: status, reason, failed task and notices in one transaction.

    Returns the reason, or None where this round was settled before: idempotent, whoever calls it.
    """
    relocation = find_relocation(ledger, failure.relocation_id)
    task = relocation.task if relocation else None
    reason = _reason(failure.error, task, settings)
    settlement = Settlement(
        status=Status.FAILURE,
        reason=reason,
        failed_task=task,
        internal_error=_internal(failure),
        drafts=_drafts(ledger, relocation, failure, reason, settings),
    )
    settled = settle(
        ledger,
        failure.relocation_id,
        settlement,
        sender_domain=settings.sender_domain,
        request=tolerant_request(failure.request),
    )
    return reason if settled else None


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


def _reason(error: BaseException | None, task: Task | None, settings: Settings) -> str:
    if isinstance(error, RelocationError):
        return error.reason
    return settings.policy(task).reason if task else UNEXPLAINED


def _internal(failure: Failure) -> str:
    if failure.error is None:
        return failure.message
    return "".join(traceback.format_exception(failure.error))


def _drafts(
    ledger: Engine,
    relocation: Relocation | None,
    failure: Failure,
    reason: str,
    settings: Settings,
) -> list[Draft]:
    asked = relocation.request if relocation else tolerant_request(failure.request)
    error = failure.error
    context = {
        "organizations": asked.organizations,
        "reason": reason,
        "destination_state": _destination_state(ledger, relocation),
        "next_step": error.next_step if isinstance(error, RelocationError) else NOTHING_TO_DO,
        "round": relocation.round if relocation else 1,
        "happened_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    operator = settings.operator_email
    recipients = addressees(relocation, otherwise=operator) if relocation else [operator]
    return [Draft(NoticeKind.FAILED, recipient, context) for recipient in recipients]


def _destination_state(ledger: Engine, relocation: Relocation | None) -> str:
    if relocation is None:
        return "unchanged"
    if done_result(ledger, relocation.id, Task.REVEAL_ORGANIZATIONS) is not None:
        return "visible"
    begun = was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS)
    return "hidden" if begun else "unchanged"

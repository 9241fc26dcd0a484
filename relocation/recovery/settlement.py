"""End a relocation without success: undo what a cancelled one imported, then settle it."""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine

from relocation.errors import (
    NOTHING_TO_DO,
    CommandError,
    DifferencesError,
    OwnerBusyError,
    RelocationError,
    RevealedError,
)
from relocation.ledger.holds import Hold, as_seen, release, take_hold
from relocation.ledger.leases import LeaseKeeper
from relocation.ledger.relocations import get_relocation
from relocation.ledger.settle import UNEXPLAINED, Settlement, settle
from relocation.ledger.tables import TryOutcome
from relocation.ledger.transitions import begin_roll_back, end_roll_back, refuse_cancel
from relocation.ledger.tries import is_done, last_explained_try, last_try, was_tried
from relocation.model import Relocation, RollBackReport
from relocation.notices.failure import Destination, cancelled_drafts, failure_drafts
from relocation.recovery.alerts import failure_alert
from relocation.recovery.context import RecoveryContext
from relocation.recovery.runs import Run
from relocation.request import RelocationRequest
from relocation.steps import RollBackState, Status, Task

CANCELLED = "The relocation was cancelled by an operator."
_NO_RUN = "the server has no such flow run"


def end_relocation(
    context: RecoveryContext,
    relocation_id: str,
    relocation: Relocation | None,
    run: Run | None,
    *,
    cancelled: bool = False,
    error: BaseException | None = None,
    own: Hold | None = None,
) -> Settlement | None:
    """Settle a relocation as FAILURE or CANCELLED, with its notices; idempotent.

    `relocation` and `run` are as the caller saw them, `error` is what the run raised, where this
    process saw it, and `own` the hold that the caller may have. What a cancelled one has imported
    is rolled back first, as long as nobody could see it and no row of others hangs on it; one that
    fails keeps it, hidden, for a rerun. Returns None where it was settled or taken over before.
    Raises RevealedError where it can no longer be cancelled, and what else rolling back raises: the
    relocation then stays as it is, to be ended later.
    """
    detail = run.message if run else _NO_RUN
    if cancelled and relocation is not None and may_have_imported(context.ledger, relocation):
        hold = take_hold(
            context.ledger,
            as_seen(relocation, own),
            lease_seconds=context.settings.lease_seconds,
            worker=context.worker,
            now=context.clock(),
        )
        if hold is None:
            return None
        own = hold
        try:
            undo_import(context, hold)
        except RevealedError:
            # Its process died before it could tell the ledger.
            too_late = "the organizations are already visible"
            refuse_cancel(context.ledger, hold, too_late, context.clock())
            release(context.ledger, hold)
            raise
        except CommandError as err:
            # What people work with by now is theirs: the relocation ends, and leaves it to them.
            detail = f"not rolled back: {err}\n\n{detail}"
        except BaseException:
            release(context.ledger, hold)  # whoever goes on need not wait
            raise
        relocation = get_relocation(context.ledger, relocation_id)
    request = tolerant_request(run.request if run else {})
    settlement = _settlement(
        context, relocation, request, cancelled=cancelled, error=error, detail=detail
    )
    event = settle(
        context.ledger,
        relocation_id,
        settlement,
        sender_domain=context.settings.sender_domain,
        seen=own or relocation,
        request=request,
        now=context.clock(),
    )
    if event is None:
        return None
    context.runs.announce(get_relocation(context.ledger, relocation_id), event)
    return settlement


def undo_import(
    context: RecoveryContext,
    hold: Hold,
    *,
    revealed: bool = False,
    agree: Callable[[], None] = lambda: None,
) -> RollBackReport:
    """Remove what a relocation imported, under a hold; idempotent, and goes on where it stopped.

    `agree` is asked once all is checked, before the first removal: it raises to refuse. A later
    rerun imports anew; without `revealed` it is a cancellation, and there is none. Raises
    FencedOut, and PermanentError where rows that others added since then hang on what was imported,
    or where organizations are revealed and `revealed` does not allow for that.
    """
    ledger, settings = context.ledger, context.settings

    def begin() -> None:
        agree()
        begin_roll_back(ledger, hold, cancels=not revealed, now=context.clock())

    with LeaseKeeper(
        ledger,
        hold,
        every=settings.lease_renewal,
        lease_seconds=settings.lease_seconds,
        lost=lambda: None,  # the destination's own fence refuses the next transaction
    ):
        report = context.roll_back(hold.relocation_id, hold.fence, revealed=revealed, begin=begin)
    end_roll_back(ledger, hold, context.clock())
    return report


def tolerant_request(parameters: Mapping[str, Any]) -> RelocationRequest:
    """Make what can be made of an invalid request, so that its failure can be recorded."""
    slugs = parameters.get("organizations")
    slugs = slugs if isinstance(slugs, list) else []
    creator, source = parameters.get("creator"), parameters.get("source")
    return RelocationRequest(
        archive=str(parameters.get("archive") or ""),
        source=source if isinstance(source, str) else None,
        organizations=[slug for slug in slugs if isinstance(slug, str)],
        owner=str(parameters.get("owner") or ""),
        creator=creator if isinstance(creator, str) else None,
    )


def destination_state(ledger: Engine, relocation: Relocation | None) -> Destination:
    """Say what a relocation has left in the destination, as far as the ledger knows."""
    if relocation is None or not was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS):
        return Destination.UNCHANGED
    if relocation.roll_back is RollBackState.DONE:
        return Destination.REMOVED
    return Destination.VISIBLE if is_revealed(ledger, relocation.id) else Destination.HIDDEN


def is_revealed(ledger: Engine, relocation_id: str) -> bool:
    """Say whether the organizations are visible: from then on it can no longer be cancelled."""
    return is_done(ledger, relocation_id, Task.REVEAL_ORGANIZATIONS)


def may_have_imported(ledger: Engine, relocation: Relocation) -> bool:
    """Say whether anything that the relocation imported may lie in the destination."""
    if relocation.roll_back is RollBackState.DONE:
        return False
    return was_tried(ledger, relocation.id, Task.IMPORT_ORGANIZATIONS)


def _settlement(
    context: RecoveryContext,
    relocation: Relocation | None,
    request: RelocationRequest,
    *,
    cancelled: bool,
    error: BaseException | None,
    detail: str,
) -> Settlement:
    ledger, settings = context.ledger, context.settings
    reason, advice = _why(context, relocation, error)
    about = relocation or request
    destination = destination_state(ledger, relocation)
    operator, now = settings.operator_email, context.clock()
    cause = None
    if cancelled:
        reason = CANCELLED
        drafts = cancelled_drafts(about, destination=destination, operator=operator, now=now)
    else:
        drafts = failure_drafts(
            about,
            reason=reason,
            advice=advice,
            findings=error.findings if isinstance(error, DifferencesError) else (),
            destination=destination,
            operator=operator,
            now=now,
        )
        alert = failure_alert(
            ledger,
            settings,
            about,
            error,
            reason=reason,
            advice=advice,
            destination=destination,
            now=now,
        )
        drafts, cause = [*drafts, *alert.drafts], alert.cause
    return Settlement(
        status=Status.CANCELLED if cancelled else Status.FAILURE,
        reason=reason,
        failed_task=relocation.task if relocation else None,
        internal_error=_internal(ledger, relocation, error, detail),
        cause=cause,
        drafts=drafts,
    )


def _why(
    context: RecoveryContext, relocation: Relocation | None, error: BaseException | None
) -> tuple[str, str]:
    """Return the reason and the advice of a failure: what was raised, else what the ledger knows.

    The process that settles need not be the one in which the task failed.
    """
    if isinstance(error, RelocationError):
        return error.reason, error.next_step
    if relocation is not None and relocation.status is Status.FAILURE:
        # It could not be opened, and the process that knows why is gone.
        return relocation.reason or UNEXPLAINED, OwnerBusyError.next_step
    if relocation is None or relocation.task is None:
        return UNEXPLAINED, NOTHING_TO_DO
    policy = context.settings.policy(relocation.task)
    last = last_try(context.ledger, relocation.id, relocation.round)
    if last is None or last.outcome is TryOutcome.DONE:
        return UNEXPLAINED, NOTHING_TO_DO
    told = last_explained_try(context.ledger, relocation.id, relocation.round, last.task)
    if told is not None and told.reason and error is None:
        return told.reason, told.advice or NOTHING_TO_DO
    if last.outcome is TryOutcome.INTERRUPTED or last.outcome is None:
        times = "once" if last.number == 1 else f"{last.number} times"
        return f"{policy.reason.rstrip('.')}: it was interrupted {times}.", NOTHING_TO_DO
    return policy.reason, NOTHING_TO_DO


def _internal(
    ledger: Engine, relocation: Relocation | None, error: BaseException | None, detail: str
) -> str:
    if error is not None:
        return "".join(traceback.format_exception(error))
    last = last_try(ledger, relocation.id, relocation.round) if relocation else None
    told = [detail, last.error if last else None]
    return "\n\n".join(text for text in told if text)

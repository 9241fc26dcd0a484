"""What an operator asks of a relocation: cancel, go on, roll back (spec 6.7)."""

from collections.abc import Callable

from relocation.errors import CommandError
from relocation.ledger.holds import record_taken_over, release, take_hold
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.transitions import record_unpause, reschedule_pause, schedule_cancel
from relocation.model import Relocation, RollBackReport
from relocation.recovery.context import RecoveryContext
from relocation.recovery.reconcile import ReconcileResult, reconcile
from relocation.recovery.runs import Run, RunState
from relocation.recovery.settlement import is_revealed, may_have_imported, undo_import
from relocation.steps import ACTIVE, Status, Step

BY_HAND = "Cancelled by an operator"
_VISIBLE = "The organizations are already visible, so the relocation can no longer be cancelled."


def cancel_before(context: RecoveryContext, relocation_id: str, step: Step | None) -> Step | None:
    """Cancel a relocation before a later step, the next one by default (A-132).

    Returns the step, or None where nothing works on it and it was cancelled at once. Raises
    PermanentError where it has ended, and as `schedule_cancel` does.
    """
    relocation = find_relocation(context.ledger, relocation_id)
    if relocation is not None and _is_held(context, relocation):
        return schedule_cancel(context.ledger, relocation_id, step, context.clock())
    abort(context, relocation_id)
    return None


def unpause(context: RecoveryContext, relocation_id: str, until: Step | None) -> bool:
    """Let a paused relocation go on, or change or drop its next pause; says whether it goes on.

    What cannot be asked of the Prefect server now, a sweep asks. Raises as `reschedule_pause` does.
    """
    was = reschedule_pause(context.ledger, relocation_id, until, context.clock())
    if was.status is not Status.PAUSED:
        return False
    if record_unpause(context.ledger, was, "by command", context.clock()):
        reconcile(context, relocation_id, _run(context, relocation_id))
    return True


def abort(context: RecoveryContext, relocation_id: str) -> bool:
    """Cancel a relocation now, and roll back what it imported (A-133).

    Returns whether it is cancelled already; else a living process is at work, which Prefect's
    worker ends first. Raises PermanentError where it has ended, or is visible already.
    """
    relocation = find_relocation(context.ledger, relocation_id)
    run = _run(context, relocation_id)
    if relocation is not None:
        if relocation.status not in ACTIVE:
            raise CommandError(f"This relocation has ended: {relocation.status}.")
        if is_revealed(context.ledger, relocation_id):
            raise CommandError(_VISIBLE)
        if _is_held(context, relocation):
            context.runs.conclude(relocation_id, RunState.CANCELLING, BY_HAND)
            return False
    elif run.state not in {RunState.SCHEDULED, RunState.PENDING}:
        raise CommandError("This run has not started a relocation. Check it in the Prefect UI.")
    context.runs.conclude(relocation_id, RunState.CANCELLED, BY_HAND)
    if reconcile(context, relocation_id, _run(context, relocation_id)) is ReconcileResult.SETTLED:
        return True
    after = find_relocation(context.ledger, relocation_id)
    if after is not None and after.is_open and not _is_held(context, after):
        raise CommandError(_VISIBLE)  # only the destination knew, and it goes on
    return False


def recover(context: RecoveryContext, relocation_id: str) -> None:
    """Let a relocation that failed or was interrupted go on where it stopped (A-135).

    Raises PermanentError for one that is at work, is paused, or has ended for good.
    """
    relocation = get_relocation(context.ledger, relocation_id)
    match relocation.status:
        case Status.FAILURE:
            pass
        case Status.INTERRUPTED:
            if _is_held(context, relocation):
                raise CommandError("This relocation is in progress.")
        case Status.PAUSED:
            raise CommandError("This relocation is paused: unpause it instead.")
        case Status.IN_PROGRESS:
            raise CommandError("This relocation is in progress.")
        case Status.SUCCESS | Status.CANCELLED:
            raise CommandError(
                f"This relocation has ended for good ({relocation.status}). Submit a new one."
            )
    run = _run(context, relocation_id)
    if not run.deployed:
        raise CommandError(
            "This relocation was not run through its deployment. Resume it with: prefect "
            f"flow-run retry {relocation_id} --entrypoint flows.relocate.relocate"
        )
    context.runs.reschedule(relocation_id)


def can_roll_back(context: RecoveryContext, relocation_id: str) -> bool:
    """Say whether anything may be left of what a relocation imported.

    Raises PermanentError for one that has neither failed nor was cancelled.
    """
    relocation = get_relocation(context.ledger, relocation_id)
    if relocation.status not in {Status.FAILURE, Status.CANCELLED}:
        raise CommandError(
            "Only a failed or cancelled relocation can be rolled back. This one is "
            f"{relocation.status}."
        )
    return may_have_imported(context.ledger, relocation)


def roll_back_ended(
    context: RecoveryContext, relocation_id: str, agree: Callable[[], None] = lambda: None
) -> RollBackReport:
    """Remove what a failed or cancelled relocation imported; a rerun then imports anew (B-7).

    `agree` is asked once it is known that all of it can be removed; it raises to refuse. Where
    nothing is left of that, nothing happens. Raises PermanentError as `can_roll_back` does, for
    one that somebody works on, and for one on whose rows others hang.
    """
    if not can_roll_back(context, relocation_id):
        return RollBackReport({}, {})
    hold = take_hold(
        context.ledger,
        get_relocation(context.ledger, relocation_id),
        lease_seconds=context.settings.lease_seconds,
        worker=context.worker,
        now=context.clock(),
        silently=True,
    )
    if hold is None:
        raise CommandError("This relocation is in progress.")

    def begin() -> None:
        agree()
        # Only now: what was refused has not happened.
        record_taken_over(context.ledger, hold, context.worker, context.clock())

    try:
        return undo_import(context, hold, revealed=True, agree=begin)
    finally:
        release(context.ledger, hold)


def _run(context: RecoveryContext, relocation_id: str) -> Run:
    run = context.runs.read([relocation_id]).get(relocation_id)
    if run is None:
        get_relocation(context.ledger, relocation_id)
        raise CommandError("The Prefect server has no run of this relocation any more.")
    return run


def _is_held(context: RecoveryContext, relocation: Relocation) -> bool:
    return relocation.lease_until is not None and relocation.lease_until > context.clock()

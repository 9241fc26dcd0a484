"""Bring ledger and flow run of a relocation together again, whoever noticed that they differ."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from relocation.errors import FencedOut, PermanentError, RevealedError
from relocation.ledger.holds import Hold, as_seen
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.tables import TryOutcome
from relocation.ledger.transitions import (
    confirm_suspension,
    interrupt,
    pause_abandoned,
    record_unopened,
    record_unpause,
    reserve_resume,
)
from relocation.ledger.tries import last_try, tries_used
from relocation.model import Relocation
from relocation.recovery.context import RecoveryContext
from relocation.recovery.decision import (
    CANCELS,
    ErrorKind,
    Facts,
    Limits,
    Move,
    next_move,
    suspension_key,
    worker_busy_for,
)
from relocation.recovery.runs import Run, RunState
from relocation.recovery.settlement import end_relocation, is_revealed, tolerant_request
from relocation.settings import Settings
from relocation.steps import LifecycleEvent, Status, backoff

_log = logging.getLogger(__name__)

_ENDED_AS_SUCH = {RunState.FAILED, RunState.CRASHED, RunState.CANCELLED}
_READ_AGAIN = {Move.SUSPEND, Move.UNPAUSE, Move.RESUME, Move.FAIL, Move.CANCEL}
"""A run that changed since it was read must not be treated as it was."""


class ReconcileResult(StrEnum):
    """What reconciling did."""

    LEFT = "left"
    HELD = "held"
    """Left to whoever looks when the lease of the process that holds it is over."""
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    INTERRUPTED = "interrupted"
    RESUMED = "resumed"
    SETTLED = "settled"

    @property
    def is_change(self) -> bool:
        """Whether anything was done."""
        return self not in {ReconcileResult.LEFT, ReconcileResult.HELD}


def reconcile(
    context: RecoveryContext,
    relocation_id: str,
    run: Run | None,
    *,
    error: BaseException | None = None,
    own: Hold | None = None,
    set_state: bool = True,
) -> ReconcileResult:
    """Settle, resume, pause or leave a relocation; idempotent, guarded and fenced.

    The one function behind the hook, `handle-failure` and `sweep` (DESIGN 6). A relocation that a
    living process holds is left, unless `own` is that hold. `error` is what the run raised, where
    this process saw it. With `set_state` false the run is left as it is, and an interruption only
    recorded: a hook runs while the end of its run is still being reported, a crash even twice.
    """
    case = _assess(context, relocation_id, run, error=error, own=own, set_state=set_state)
    if case.move in _READ_AGAIN and set_state:
        run = context.runs.read([relocation_id]).get(relocation_id)
        case = _assess(context, relocation_id, run, error=error, own=own, set_state=set_state)
    match case.move:
        case Move.AWAIT:
            return ReconcileResult.HELD
        case Move.SHOW_SUCCESS if set_state:
            message = "The relocation had already succeeded when its process ended."
            if run is not None and run.state in CANCELS:
                message = "The relocation had already succeeded, so the cancellation came too late."
            context.runs.conclude(relocation_id, RunState.COMPLETED, message)
            return ReconcileResult.LEFT
        case Move.FAIL | Move.CANCEL:
            return _settle(case, cancelled=case.move is Move.CANCEL)
        case Move.INTERRUPT | Move.RESUME:
            return _handle_interruption(case)
        case Move.PAUSE | Move.CONFIRM | Move.SUSPEND | Move.UNPAUSE:
            return _handle_pause(case)
        case _:
            return ReconcileResult.LEFT


def wait_until_free(
    context: RecoveryContext, relocation_id: str, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Wait, for one lease at most, until nobody holds the relocation; say whether that is so.

    It ends early where the lease is renewed: then its process is alive.
    """
    first = find_relocation(context.ledger, relocation_id)
    until = first.lease_until if first else None
    while until is not None:
        rest = (until - context.clock()).total_seconds()
        if rest < 0:
            return True
        sleep(min(rest + 0.05, 1.0))
        again = find_relocation(context.ledger, relocation_id)
        if again is None or again.lease_until != until:
            return again is None or again.lease_until is None
    return True


def await_worker(
    context: RecoveryContext, relocation_id: str, sleep: Callable[[float], None] = time.sleep
) -> Run | None:
    """Return the run, once the worker that reported its end must be done with it.

    Until then the worker runs hooks, and reports a crash again, which Prefect would take of a run
    that goes on already.
    """
    while True:
        run = context.runs.read([relocation_id]).get(relocation_id)
        relocation = find_relocation(context.ledger, relocation_id)
        if run is None or (relocation is not None and not relocation.is_open):
            return run
        if run.state is RunState.CANCELLED and not is_revealed(context.ledger, relocation_id):
            return run  # nothing is to be scheduled
        rest = worker_busy_for(run, _limits(context.settings).worker, context.clock())
        if rest <= timedelta():
            return run
        sleep(rest.total_seconds())


@dataclass(frozen=True)
class _Case:
    """A relocation that is looked at: by whom, what is known of it, and what is to be done."""

    context: RecoveryContext
    relocation_id: str
    facts: Facts
    move: Move
    error: BaseException | None
    own: Hold | None
    set_state: bool


def _assess(
    context: RecoveryContext,
    relocation_id: str,
    run: Run | None,
    *,
    error: BaseException | None,
    own: Hold | None,
    set_state: bool,
) -> _Case:
    relocation = find_relocation(context.ledger, relocation_id)
    facts = Facts(
        relocation,
        run,
        context.clock(),
        raised=_kind(error),
        own=own is not None and relocation is not None and own.fence == relocation.fence,
        tries_left=relocation is None or not relocation.is_open or _tries_left(context, relocation),
        resumed=_was_resumed(context, relocation, run),
        revealed=relocation is not None and is_revealed(context.ledger, relocation.id),
    )
    move = next_move(facts, _limits(context.settings))
    return _Case(context, relocation_id, facts, move, error, own, set_state)


def _kind(error: BaseException | None) -> ErrorKind:
    match error:
        case FencedOut():
            return ErrorKind.FENCED_OUT
        case RevealedError():
            return ErrorKind.TRANSIENT  # a cancellation came too late, which ends nothing
        case PermanentError():
            return ErrorKind.PERMANENT
        case Exception():
            return ErrorKind.TRANSIENT
        case _:
            return ErrorKind.UNSEEN


def _tries_left(context: RecoveryContext, relocation: Relocation) -> bool:
    last = last_try(context.ledger, relocation.id, relocation.round)
    if last is not None and last.outcome is TryOutcome.REFUSED:
        return False
    if last is None or last.task is not relocation.task or last.outcome is TryOutcome.DONE:
        return True
    used = tries_used(context.ledger, relocation.id, relocation.round, last.task)
    return used < context.settings.policy(last.task).tries


def _was_resumed(context: RecoveryContext, relocation: Relocation | None, run: Run | None) -> bool:
    """Say whether a paused relocation's run was scheduled again, as Resume in the UI does."""
    if relocation is None or relocation.status is not Status.PAUSED or not relocation.is_open:
        return False
    if run is None or run.state in {RunState.PAUSED, RunState.CANCELLED, RunState.CANCELLING}:
        return False
    return context.runs.was_resumed(
        relocation.id, suspension_key(relocation.fence), relocation.suspended_since
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        start=timedelta(seconds=settings.start_limit),
        interrupted=timedelta(seconds=settings.interrupted_limit),
        resumes=settings.max_resumes,
        worker=timedelta(seconds=settings.resume_after),
    )


def _handle_pause(case: _Case) -> ReconcileResult:
    context, relocation, run = case.context, case.facts.relocation, case.facts.run
    if relocation is None or run is None:
        raise AssertionError(case.move)
    done: LifecycleEvent | bool | None = None
    match case.move:
        case Move.PAUSE:
            done = pause_abandoned(context.ledger, relocation, run.since, case.facts.now)
        case Move.UNPAUSE:
            cancelled = "it was cancelled too late: the organizations are already visible"
            detail = cancelled if run.state in CANCELS else "its flow run was resumed"
            if record_unpause(context.ledger, relocation, detail, case.facts.now):
                then = reconcile(context, relocation.id, run, set_state=case.set_state)
                return then if then.is_change else ReconcileResult.UNPAUSED
        case Move.SUSPEND if case.set_state:
            done = _confirm(context, relocation, _suspend(context, relocation, run))
        case Move.CONFIRM:
            done = _confirm(context, relocation, run)
    return ReconcileResult.PAUSED if done else ReconcileResult.LEFT


def _suspend(context: RecoveryContext, relocation: Relocation, run: Run) -> Run:
    limit = timedelta(seconds=context.settings.pause_limit)
    key = suspension_key(relocation.fence)
    suspended = context.runs.suspend(run, key, limit)
    if suspended.state is RunState.RUNNING:
        # It was suspended under this key before, and somebody set its state by hand since.
        suspended = context.runs.suspend(suspended, f"{key}-since-{run.since.isoformat()}", limit)
    return suspended


def _confirm(context: RecoveryContext, relocation: Relocation, run: Run) -> bool:
    return run.state is RunState.PAUSED and confirm_suspension(
        context.ledger, relocation.id, relocation.fence, run.since
    )


def _handle_interruption(case: _Case) -> ReconcileResult:
    """Record the interruption, then have the run scheduled again, a little later each time."""
    context, relocation, run = case.context, case.facts.relocation, case.facts.run
    if run is None:
        raise AssertionError(case.move)
    outcome = ReconcileResult.LEFT
    if relocation is None:
        if not _record_unopened(context, run):
            return _settle(case, cancelled=False)  # its owner has another one (B-9)
        outcome = ReconcileResult.INTERRUPTED
    elif relocation.status is not Status.INTERRUPTED:
        too_late = "a cancellation came too late: the organizations are already visible"
        detail = too_late if run.state in CANCELS else run.message
        detail = detail or f"its flow run was {run.state.lower()}, its process gone"
        seen = as_seen(relocation, case.own)
        event = interrupt(context.ledger, seen, detail, case.facts.now)
        if event is None:
            return ReconcileResult.LEFT
        context.runs.announce(relocation, event)
        outcome = ReconcileResult.INTERRUPTED
    if case.move is Move.RESUME and case.set_state and _resume(context, run, case.facts.now):
        return ReconcileResult.RESUMED
    return outcome


def _record_unopened(context: RecoveryContext, run: Run) -> bool:
    detail = run.message or "its process was gone before it began"
    request = tolerant_request(run.request)
    event = record_unopened(context.ledger, run.id, request, detail, context.clock())
    if event is None:
        return False
    context.runs.announce(get_relocation(context.ledger, run.id), event)
    return True


def _resume(context: RecoveryContext, run: Run, now: datetime) -> bool:
    settings = context.settings
    if worker_busy_for(run, _limits(settings).worker, now) > timedelta():
        return False  # whoever looks next schedules it
    interrupted = find_relocation(context.ledger, run.id)
    if interrupted is None or not reserve_resume(context.ledger, interrupted, run.since, now):
        return False
    waits = backoff(settings.backoff, interrupted.resumes + 1, settings.backoff_limit)
    context.runs.reschedule(run.id, timedelta(seconds=waits[-1] if waits else 0))
    return True


def _settle(case: _Case, *, cancelled: bool) -> ReconcileResult:
    context, run = case.context, case.facts.run
    try:
        settlement = end_relocation(
            context,
            case.relocation_id,
            case.facts.relocation,
            run,
            cancelled=cancelled,
            error=case.error,
            own=case.own,
        )
    except RevealedError:
        if run is None:
            raise
        visible = get_relocation(context.ledger, case.relocation_id)
        goes_on = replace(case, facts=replace(case.facts, relocation=visible), own=None)
        if visible.status is Status.PAUSED:
            return _handle_pause(replace(goes_on, move=Move.UNPAUSE))
        return _handle_interruption(replace(goes_on, move=Move.RESUME))
    if settlement is None:
        return ReconcileResult.LEFT
    _log.info("Relocation %s is settled: %s", case.relocation_id, settlement.status)
    state = RunState.CANCELLED if cancelled else RunState.FAILED
    shown = {state} if cancelled else _ENDED_AS_SUCH
    if case.set_state and run is not None and run.state not in shown:
        context.runs.conclude(case.relocation_id, state, settlement.bounded_reason)
    return ReconcileResult.SETTLED

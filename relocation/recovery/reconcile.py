"""Bring ledger and flow run of a relocation together again, whoever noticed that they differ."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from relocation.errors import FencedOut, PermanentError, RevealedError
from relocation.ledger.control import (
    claim_resume,
    confirm_suspension,
    interrupt,
    pause_abandoned,
    record_unopened,
    unpause,
)
from relocation.ledger.holds import Hold
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import last_try, tries_used
from relocation.model import Relocation
from relocation.recovery.decision import (
    CANCELS,
    Bounds,
    Facts,
    Move,
    Raised,
    next_move,
    suspension_of,
    worker_busy_for,
)
from relocation.recovery.runs import Run, RunState, Turn
from relocation.recovery.settlement import Surroundings, end, is_revealed, tolerant_request
from relocation.settings import Settings
from relocation.steps import Status, backoff

_log = logging.getLogger(__name__)

_ENDED_AS_SUCH = {RunState.FAILED, RunState.CRASHED, RunState.CANCELLED}
_READ_AGAIN = {Move.SUSPEND, Move.UNPAUSE, Move.RESUME, Move.FAIL, Move.CANCEL}
"""A run that changed since it was read must not be treated as it was."""


class Outcome(StrEnum):
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
        return self not in {Outcome.LEFT, Outcome.HELD}


def reconcile(
    around: Surroundings,
    relocation_id: str,
    run: Run | None,
    *,
    error: BaseException | None = None,
    own: Hold | None = None,
    set_state: bool = True,
) -> Outcome:
    """Settle, resume, pause or leave a relocation; idempotent, guarded and fenced.

    The one function behind the hook, `handle-failure` and `sweep` (DESIGN 6). A relocation that a
    living process holds is left, unless `own` is that hold. `error` is what the run raised, where
    this process saw it. With `set_state` false the run is left as it is, and an interruption only
    recorded: a hook runs while the end of its run is still being reported, a crash even twice.
    """
    case = _look(around, relocation_id, run, error=error, own=own, set_state=set_state)
    if case.move in _READ_AGAIN and set_state:
        run = around.runs.read([relocation_id]).get(relocation_id)
        case = _look(around, relocation_id, run, error=error, own=own, set_state=set_state)
    match case.move:
        case Move.AWAIT:
            return Outcome.HELD
        case Move.SHOW_SUCCESS if set_state:
            message = "The relocation had already succeeded when its process ended."
            if run is not None and run.state in CANCELS:
                message = "The relocation had already succeeded, so the cancellation came too late."
            around.runs.conclude(relocation_id, RunState.COMPLETED, message)
            return Outcome.LEFT
        case Move.FAIL | Move.CANCEL:
            return _settle(case, cancelled=case.move is Move.CANCEL)
        case Move.INTERRUPT | Move.RESUME:
            return _see_to_its_run(case)
        case Move.PAUSE | Move.CONFIRM | Move.SUSPEND | Move.UNPAUSE:
            return _see_to_its_pause(case)
        case _:
            return Outcome.LEFT


def wait_until_free(
    around: Surroundings, relocation_id: str, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Wait, for one lease at most, until nobody holds the relocation; say whether that is so.

    It ends early where the lease is renewed: then its process is alive.
    """
    first = find_relocation(around.ledger, relocation_id)
    until = first.lease_until if first else None
    while until is not None:
        rest = (until - around.clock()).total_seconds()
        if rest < 0:
            return True
        sleep(min(rest + 0.05, 1.0))
        again = find_relocation(around.ledger, relocation_id)
        if again is None or again.lease_until != until:
            return again is None or again.lease_until is None
    return True


def await_worker(
    around: Surroundings, relocation_id: str, sleep: Callable[[float], None] = time.sleep
) -> Run | None:
    """Return the run, once the worker that reported its end must be done with it.

    Until then the worker runs hooks, and reports a crash again, which Prefect would take of a run
    that goes on already.
    """
    while True:
        run = around.runs.read([relocation_id]).get(relocation_id)
        relocation = find_relocation(around.ledger, relocation_id)
        if run is None or (relocation is not None and not relocation.is_open):
            return run
        if run.state is RunState.CANCELLED and not is_revealed(around.ledger, relocation_id):
            return run  # nothing is to be scheduled
        rest = worker_busy_for(run, _bounds(around.settings).worker, around.clock())
        if rest <= timedelta():
            return run
        sleep(rest.total_seconds())


@dataclass(frozen=True)
class _Case:
    """A relocation that is looked at: by whom, what is known of it, and what is to be done."""

    around: Surroundings
    relocation_id: str
    facts: Facts
    move: Move
    error: BaseException | None
    own: Hold | None
    set_state: bool


def _look(
    around: Surroundings,
    relocation_id: str,
    run: Run | None,
    *,
    error: BaseException | None,
    own: Hold | None,
    set_state: bool,
) -> _Case:
    relocation = find_relocation(around.ledger, relocation_id)
    facts = Facts(
        relocation,
        run,
        around.clock(),
        raised=_kind(error),
        own=own is not None and relocation is not None and own.fence == relocation.fence,
        tries_left=relocation is None or not relocation.is_open or _tries_left(around, relocation),
        resumed=_was_resumed(around, relocation, run),
        revealed=relocation is not None and is_revealed(around.ledger, relocation.id),
    )
    move = next_move(facts, _bounds(around.settings))
    return _Case(around, relocation_id, facts, move, error, own, set_state)


def _kind(error: BaseException | None) -> Raised:
    match error:
        case FencedOut():
            return Raised.FENCED_OUT
        case RevealedError():
            return Raised.PASSING  # a cancellation came too late, which ends nothing
        case PermanentError():
            return Raised.PERMANENT
        case Exception():
            return Raised.PASSING
        case _:
            return Raised.UNSEEN


def _tries_left(around: Surroundings, relocation: Relocation) -> bool:
    last = last_try(around.ledger, relocation.id, relocation.round)
    if last is not None and last.outcome is TryOutcome.REFUSED:
        return False
    if last is None or last.task is not relocation.task or last.outcome is TryOutcome.DONE:
        return True
    used = tries_used(around.ledger, relocation.id, relocation.round, last.task)
    return used < around.settings.policy(last.task).tries


def _was_resumed(around: Surroundings, relocation: Relocation | None, run: Run | None) -> bool:
    """Say whether a paused relocation's run was scheduled again, as Resume in the UI does."""
    if relocation is None or relocation.status is not Status.PAUSED or not relocation.is_open:
        return False
    if run is None or run.state in {RunState.PAUSED, RunState.CANCELLED, RunState.CANCELLING}:
        return False
    return around.runs.was_resumed(
        relocation.id, suspension_of(relocation.fence), relocation.suspended_since
    )


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        start=timedelta(seconds=settings.start_limit),
        interrupted=timedelta(seconds=settings.interrupted_limit),
        resumes=settings.max_resumes,
        worker=timedelta(seconds=settings.resume_after),
    )


def _see_to_its_pause(case: _Case) -> Outcome:
    around, relocation, run = case.around, case.facts.relocation, case.facts.run
    if relocation is None or run is None:
        raise AssertionError(case.move)
    done = False
    match case.move:
        case Move.PAUSE:
            done = pause_abandoned(around.ledger, relocation, run.since, case.facts.now)
        case Move.UNPAUSE:
            cancelled = "it was cancelled too late: the organizations are already visible"
            detail = cancelled if run.state in CANCELS else "its flow run was resumed"
            if unpause(around.ledger, relocation, detail, case.facts.now):
                then = reconcile(around, relocation.id, run, set_state=case.set_state)
                return then if then.is_change else Outcome.UNPAUSED
        case Move.SUSPEND if case.set_state:
            done = _confirm(around, relocation, _suspend(around, relocation, run))
        case Move.CONFIRM:
            done = _confirm(around, relocation, run)
    return Outcome.PAUSED if done else Outcome.LEFT


def _suspend(around: Surroundings, relocation: Relocation, run: Run) -> Run:
    limit = timedelta(seconds=around.settings.pause_limit)
    key = suspension_of(relocation.fence)
    suspended = around.runs.suspend(run, key, limit)
    if suspended.state is RunState.RUNNING:
        # It was suspended under this key before, and somebody set its state by hand since.
        suspended = around.runs.suspend(suspended, f"{key}-since-{run.since.isoformat()}", limit)
    return suspended


def _confirm(around: Surroundings, relocation: Relocation, run: Run) -> bool:
    return run.state is RunState.PAUSED and confirm_suspension(
        around.ledger, relocation.id, relocation.fence, run.since
    )


def _see_to_its_run(case: _Case) -> Outcome:
    """Record the interruption, then have the run scheduled again, a little later each time."""
    around, relocation, run = case.around, case.facts.relocation, case.facts.run
    if run is None:
        raise AssertionError(case.move)
    outcome = Outcome.LEFT
    if relocation is None:
        if not _record_unopened(around, run):
            return _settle(case, cancelled=False)  # its owner has another one (B-9)
        outcome = Outcome.INTERRUPTED
    elif relocation.status is not Status.INTERRUPTED:
        too_late = "a cancellation came too late: the organizations are already visible"
        detail = too_late if run.state in CANCELS else run.message
        detail = detail or f"its flow run was {run.state.lower()}, its process gone"
        if not interrupt(around.ledger, relocation, detail, own=case.own, now=case.facts.now):
            return Outcome.LEFT
        around.runs.announce(relocation, Turn.INTERRUPTED)
        outcome = Outcome.INTERRUPTED
    if case.move is Move.RESUME and case.set_state and _resume(around, run, case.facts.now):
        return Outcome.RESUMED
    return outcome


def _record_unopened(around: Surroundings, run: Run) -> bool:
    detail = run.message or "its process was gone before it began"
    request = tolerant_request(run.request)
    if not record_unopened(around.ledger, run.id, request, detail, around.clock()):
        return False
    around.runs.announce(get_relocation(around.ledger, run.id), Turn.INTERRUPTED)
    return True


def _resume(around: Surroundings, run: Run, now: datetime) -> bool:
    settings = around.settings
    if worker_busy_for(run, _bounds(settings).worker, now) > timedelta():
        return False  # whoever looks next schedules it
    interrupted = find_relocation(around.ledger, run.id)
    if interrupted is None or not claim_resume(around.ledger, interrupted, run.since, now):
        return False
    waits = backoff(settings.backoff, interrupted.resumes + 1, settings.backoff_limit)
    around.runs.reschedule(run.id, timedelta(seconds=waits[-1] if waits else 0))
    return True


def _settle(case: _Case, *, cancelled: bool) -> Outcome:
    around, run = case.around, case.facts.run
    try:
        settlement = end(
            around,
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
        visible = get_relocation(around.ledger, case.relocation_id)
        goes_on = replace(case, facts=replace(case.facts, relocation=visible), own=None)
        if visible.status is Status.PAUSED:
            return _see_to_its_pause(replace(goes_on, move=Move.UNPAUSE))
        return _see_to_its_run(replace(goes_on, move=Move.RESUME))
    if settlement is None:
        return Outcome.LEFT
    _log.info("Relocation %s is settled: %s", case.relocation_id, settlement.status)
    state = RunState.CANCELLED if cancelled else RunState.FAILED
    shown = {state} if cancelled else _ENDED_AS_SUCH
    if case.set_state and run is not None and run.state not in shown:
        around.runs.conclude(case.relocation_id, state, settlement.bounded_reason)
    return Outcome.SETTLED

"""Bring ledger and flow run of a relocation together again, whoever noticed that they differ."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from relocation.errors import FencedOut, PermanentError
from relocation.ledger.control import (
    claim_resume,
    interrupt,
    pause_abandoned,
    record_unopened,
)
from relocation.ledger.holds import Hold
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import last_try, tries_used
from relocation.model import Relocation
from relocation.recovery.decision import Bounds, Move, next_move
from relocation.recovery.runs import Run, RunState, Turn
from relocation.recovery.settlement import Surroundings, end, tolerant_request
from relocation.settings import Settings
from relocation.steps import Status

_log = logging.getLogger(__name__)


_AT_WORK = {RunState.PENDING, RunState.RUNNING}
_ENDS = {RunState.FAILED, RunState.CRASHED, RunState.CANCELLED}


class Outcome(StrEnum):
    """What reconciling did."""

    LEFT = "left"
    HELD = "held"
    """Left to whoever looks when the lease of the process that holds it is over."""
    PAUSED = "paused"
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
    if isinstance(error, FencedOut):
        return Outcome.LEFT  # the relocation is another process's now, and so is its end
    relocation = find_relocation(around.ledger, relocation_id)
    if relocation is not None and not relocation.is_open:
        if set_state:
            _conclude_success(around, relocation, run)
        return Outcome.LEFT
    now = around.clock()
    if relocation is not None and _is_held(relocation, own, now):
        return Outcome.HELD
    failed = run is not None and run.state is RunState.FAILED
    if relocation is not None and run is not None and failed and _is_passing(error):
        # No try is to blame as long as tries are left: a connection was cut between two tasks.
        run = replace(run, state=RunState.CRASHED)
    move = next_move(
        relocation,
        run,
        tries_left=relocation is None or _tries_left(around, relocation),
        bounds=_bounds(around.settings),
        now=now,
    )
    match move:
        case Move.LEAVE:
            return Outcome.LEFT
        case Move.PAUSE if relocation is not None:
            paused = pause_abandoned(around.ledger, relocation, now)
            return Outcome.PAUSED if paused else Outcome.LEFT
        case Move.RESUME if relocation is not None and run is not None:
            return _resume(around, relocation, run, own, set_state)
        case Move.RESUME if run is not None and _record_unopened(around, run):
            opened = get_relocation(around.ledger, relocation_id)
            around.runs.announce(opened, Turn.INTERRUPTED)
            outcome = _resume(around, opened, run, own, set_state)
            return outcome if outcome.is_change else Outcome.INTERRUPTED
    cancelled = move is Move.CANCEL
    settlement = end(
        around, relocation_id, relocation, run, cancelled=cancelled, error=error, own=own
    )
    if settlement is None:
        return Outcome.LEFT
    _log.info("Relocation %s is settled: %s", relocation_id, settlement.status)
    if set_state and run is not None and run.state not in _ENDS:
        state = RunState.CANCELLED if cancelled else RunState.FAILED
        around.runs.conclude(relocation_id, state, settlement.bounded_reason)
    return Outcome.SETTLED


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

    Until then the worker runs hooks, and reports a crash again; one with a limit would end if it
    were given the run meanwhile (Prefect 3).
    """
    while True:
        run = around.runs.read([relocation_id]).get(relocation_id)
        relocation = find_relocation(around.ledger, relocation_id)
        if run is None or (relocation is not None and not relocation.is_open):
            return run
        rest = _until_worker_is_done(around, run)
        if rest <= timedelta():
            return run
        sleep(rest.total_seconds())


def _until_worker_is_done(around: Surroundings, run: Run) -> timedelta:
    if run.state not in {RunState.CRASHED, RunState.FAILED}:
        return timedelta()
    return run.since + timedelta(seconds=around.settings.resume_after) - around.clock()


def _is_passing(error: BaseException | None) -> bool:
    return isinstance(error, Exception) and not isinstance(error, PermanentError)


def _is_held(relocation: Relocation, own: Hold | None, now: datetime) -> bool:
    if own is not None and own.fence == relocation.fence:
        return False
    return relocation.lease_until is not None and relocation.lease_until > now


def _tries_left(around: Surroundings, relocation: Relocation) -> bool:
    last = last_try(around.ledger, relocation.id, relocation.round)
    if last is not None and last.outcome is TryOutcome.REFUSED:
        return False
    if last is None or last.task is not relocation.task or last.outcome is TryOutcome.DONE:
        return True
    used = tries_used(around.ledger, relocation.id, relocation.round, last.task)
    return used < around.settings.policy(last.task).tries


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        start=timedelta(seconds=settings.start_limit),
        interrupted=timedelta(seconds=settings.interrupted_limit),
        resumes=settings.max_resumes,
    )


def _record_unopened(around: Surroundings, run: Run) -> bool:
    detail = run.message or "its process was gone before it began"
    request = tolerant_request(run.request)
    return record_unopened(around.ledger, run.id, request, detail, around.clock())


def _resume(
    around: Surroundings, relocation: Relocation, run: Run, own: Hold | None, schedule: bool
) -> Outcome:
    ledger, now = around.ledger, around.clock()
    outcome = Outcome.LEFT
    if relocation.status is not Status.INTERRUPTED:
        detail = run.message or f"its flow run was {run.state.lower()}, its process gone"
        if not interrupt(ledger, relocation, detail, own=own, now=now):
            return Outcome.LEFT
        around.runs.announce(relocation, Turn.INTERRUPTED)
        outcome = Outcome.INTERRUPTED
    if not schedule or _until_worker_is_done(around, run) > timedelta():
        return outcome  # whoever looks next schedules it
    interrupted = find_relocation(ledger, relocation.id)
    if interrupted is not None and claim_resume(ledger, interrupted, run.since, now):
        around.runs.reschedule(relocation.id)
        outcome = Outcome.RESUMED
    return outcome


def _conclude_success(around: Surroundings, relocation: Relocation, run: Run | None) -> None:
    """Let a run whose process died just after its success show that success."""
    if run is None or relocation.status is not Status.SUCCESS or relocation.settled_at is None:
        return
    told = around.clock() - relocation.settled_at >= _bounds(around.settings).start
    if run.state is RunState.CRASHED or (run.state in _AT_WORK and told):
        message = "The relocation had succeeded when its process ended."
        around.runs.conclude(relocation.id, RunState.COMPLETED, message)

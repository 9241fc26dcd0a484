"""Decide what has to happen to a relocation whose process may be gone: a pure function."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from relocation.model import Relocation
from relocation.recovery.runs import ENDS, Run, RunState
from relocation.steps import Status

CLOCK_TOLERANCE = timedelta(seconds=10)
"""By how much the clocks of ledger and Prefect server may differ; `doctor` holds them to it."""

CANCELS = (RunState.CANCELLING, RunState.CANCELLED)


class Move(StrEnum):
    """What is to be done with a relocation."""

    LEAVE = "leave"
    AWAIT = "await"
    """Look again when the lease of the process that holds it is over."""
    INTERRUPT = "interrupt"
    """Record that its process is gone: whoever is to go on is on its way."""
    PAUSE = "pause"
    SUSPEND = "suspend"
    """Suspend the run of a paused one: its process could not."""
    CONFIRM = "confirm"
    """Record that the run of a paused one is suspended."""
    UNPAUSE = "unpause"
    RESUME = "resume"
    FAIL = "fail"
    CANCEL = "cancel"
    SHOW_SUCCESS = "show success"


class ErrorKind(StrEnum):
    """What the caller saw of the error that ended the run."""

    UNSEEN = "unseen"
    TRANSIENT = "transient"
    """Nothing is to blame as long as tries are left."""
    PERMANENT = "permanent"
    FENCED_OUT = "fenced out"
    """The relocation is another process's now, and so is its end."""


@dataclass(frozen=True)
class Facts:
    """What is known of a relocation and its run at one moment."""

    relocation: Relocation | None
    """None where the run never opened one."""
    run: Run | None
    """None where the server has none."""
    now: datetime
    """By the ledger's clock."""
    raised: ErrorKind = ErrorKind.UNSEEN
    own: bool = False
    """Whether the process that held it is the one that asks."""
    tries_left: bool = True
    """Whether a further try of the task it was in may succeed."""
    resumed: bool = False
    """Whether the run of a paused one was scheduled again after its suspension."""
    revealed: bool = False
    """Whether the organizations are visible: it can then no longer be cancelled."""


@dataclass(frozen=True)
class Limits:
    """How long what may take; each ends in a settlement or a resumption."""

    start: timedelta
    """From being handed to a worker to holding the relocation."""
    interrupted: timedelta
    """In which an interrupted relocation must be taken up again."""
    resumes: int
    """Times a relocation is asked to go on without getting a task done."""
    worker: timedelta
    """From the end of a run until its worker is done with it."""


def suspension_key(fence: int) -> str:
    """Return the key under which the process with this fence suspends its run.

    Prefect refuses a second suspension of a run under the same key, and says nothing.
    """
    return f"fence-{fence}"


def next_move(facts: Facts, limits: Limits) -> Move:
    """Say what is to be done with a relocation (DESIGN 6)."""
    relocation, run = facts.relocation, facts.run
    if facts.raised is ErrorKind.FENCED_OUT:
        return Move.LEAVE
    if relocation is not None and not relocation.is_open:
        return _move_when_ended(relocation, run, limits, facts.now)
    if relocation is not None and not facts.own and _is_held(relocation, facts.now):
        return Move.AWAIT
    if relocation is not None and not facts.revealed and _is_to_be_cancelled(relocation):
        return Move.CANCEL
    if run is None:
        return Move.FAIL
    if run.state in CANCELS and not facts.revealed:
        return Move.CANCEL
    if relocation is None:
        return _move_when_unopened(run, facts, limits)
    match relocation.status:
        case Status.PAUSED if run.state in CANCELS:
            return Move.UNPAUSE  # it is visible, and there is nothing left to wait for
        case Status.PAUSED:
            return _move_when_paused(relocation, run, facts, limits)
        case Status.FAILURE:
            return Move.FAIL  # its owner had another one, and nobody was told yet
        case _:
            return _move_when_active(relocation, run, facts, limits)


def _is_to_be_cancelled(relocation: Relocation) -> bool:
    """Say whether it has come to the step before which somebody wants it cancelled."""
    step = relocation.cancel_before_step
    return step is not None and relocation.step >= step


def _is_held(relocation: Relocation, now: datetime) -> bool:
    return relocation.lease_until is not None and relocation.lease_until > now


def _move_when_ended(
    relocation: Relocation, run: Run | None, limits: Limits, now: datetime
) -> Move:
    """Let a run whose process died just after its success show that success."""
    if run is None or relocation.status is not Status.SUCCESS or relocation.settled_at is None:
        return Move.LEAVE
    # It may be sending its notices.
    at_work = run.state in {RunState.PENDING, RunState.RUNNING, RunState.CANCELLING}
    gone = at_work and now - relocation.settled_at >= limits.start
    ended = run.state in {RunState.CRASHED, RunState.CANCELLED}
    return Move.SHOW_SUCCESS if gone or ended else Move.LEAVE


def _move_when_unopened(run: Run, facts: Facts, limits: Limits) -> Move:
    match run.state:
        case RunState.SCHEDULED | RunState.PAUSED:
            return Move.LEAVE
        case RunState.PENDING | RunState.RUNNING if facts.now - run.since < limits.start:
            return Move.LEAVE
        case RunState.COMPLETED:
            return Move.FAIL
        case RunState.FAILED if not _by_a_transient_error(run, facts):
            return Move.FAIL
        case _:
            return Move.RESUME if run.deployed else Move.FAIL


def _move_when_paused(relocation: Relocation, run: Run, facts: Facts, limits: Limits) -> Move:
    """A person has to unpause it, here or in the Prefect UI."""
    confirmed = relocation.suspended_since
    if run.state is RunState.PAUSED:
        return Move.LEAVE if run.since == confirmed else Move.CONFIRM
    if confirmed is not None and run.since <= confirmed:
        return Move.LEAVE  # the run was read before it was suspended
    if facts.resumed or run.state in {RunState.SCHEDULED, RunState.PENDING}:
        return Move.UNPAUSE
    if confirmed is not None and run.state in {RunState.FAILED, RunState.COMPLETED}:
        return Move.FAIL  # by hand, or nobody unpaused it in time
    if not run.deployed or not _worker_is_done(run, limits, facts.now):
        return Move.LEAVE
    return Move.SUSPEND


def _move_when_active(relocation: Relocation, run: Run, facts: Facts, limits: Limits) -> Move:
    match run.state:
        case RunState.CANCELLED | RunState.CANCELLING:  # it is visible
            return Move.FAIL if _is_given_up(relocation, run, facts, limits) else Move.RESUME
        case RunState.PAUSED if _is_unpaused(relocation, run):
            return Move.RESUME
        case RunState.PAUSED:
            return Move.PAUSE
        case RunState.COMPLETED:
            return Move.FAIL
        case RunState.FAILED if not _by_a_transient_error(run, facts):
            return Move.FAIL
    since = _interrupted_for(relocation, facts.now)
    if run.state not in ENDS and _may_be_starting(relocation, run, since, limits, facts.now):
        return Move.LEAVE if relocation.status is Status.INTERRUPTED else Move.INTERRUPT
    return Move.FAIL if _is_given_up(relocation, run, facts, limits) else Move.RESUME


def _is_given_up(relocation: Relocation, run: Run, facts: Facts, limits: Limits) -> bool:
    return (
        not run.deployed
        or not facts.tries_left
        or relocation.resumes >= limits.resumes
        or _interrupted_for(relocation, facts.now) > limits.interrupted
    )


def _interrupted_for(relocation: Relocation, now: datetime) -> timedelta:
    interrupted = relocation.status is Status.INTERRUPTED
    return now - relocation.updated_at if interrupted else timedelta()


def _by_a_transient_error(run: Run, facts: Facts) -> bool:
    """Say whether the flow failed by what may not come again; a person may have failed it too."""
    return facts.raised is ErrorKind.TRANSIENT or (facts.raised is ErrorKind.UNSEEN and run.raised)


def _is_unpaused(relocation: Relocation, run: Run) -> bool:
    """Say whether the run is still suspended as it was when the relocation was unpaused."""
    known = run.since == relocation.suspended_since
    own = run.suspension == suspension_key(relocation.fence)
    return relocation.status is Status.INTERRUPTED and (known or own)


def _may_be_starting(
    relocation: Relocation, run: Run, interrupted: timedelta, limits: Limits, now: datetime
) -> bool:
    """Say whether the run's process may be on its way to opening the relocation."""
    if run.state is RunState.SCHEDULED:
        return interrupted <= limits.interrupted
    held = relocation.held_since
    opened = (
        relocation.status is Status.IN_PROGRESS
        and run.state is RunState.RUNNING
        and held is not None
        and held >= run.since - CLOCK_TOLERANCE
    )
    return not opened and now - run.since < limits.start


def _worker_is_done(run: Run, limits: Limits, now: datetime) -> bool:
    """Say whether the worker that reported the end of a run is surely done with it."""
    return worker_busy_for(run, limits.worker, now) <= timedelta()


def worker_busy_for(run: Run, bound: timedelta, now: datetime) -> timedelta:
    """Return how long the worker that reported the end of a run may still be at it.

    It runs hooks, and reports a crash again, over whatever state the run has been given since.
    """
    reported = run.state in {RunState.CRASHED, RunState.FAILED, RunState.CANCELLED}
    return run.since + bound - now if reported else timedelta()

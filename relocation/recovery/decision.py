"""Decide what has to happen to a relocation that nobody may be working on: a pure function."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from relocation.model import Relocation
from relocation.recovery.runs import Run, RunState
from relocation.steps import Status

_CLOCKS = timedelta(seconds=5)
"""By how much the server's clock may be ahead of a worker's."""


class Move(StrEnum):
    """What is to be done with a relocation."""

    LEAVE = "leave"
    PAUSE = "pause"
    RESUME = "resume"
    FAIL = "fail"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Bounds:
    """How long what may take; each ends in a settlement or a resumption."""

    start: timedelta
    """From being handed to a worker to holding the relocation."""
    interrupted: timedelta
    """In which an interrupted relocation must be taken up again."""
    resumes: int
    """Times a relocation is asked to go on without getting a task done."""


def next_move(
    relocation: Relocation | None,
    run: Run | None,
    *,
    tries_left: bool,
    bounds: Bounds,
    now: datetime,
) -> Move:
    """Say what is to be done with a relocation that no living process holds (DESIGN 6).

    `relocation` is None where the run never opened one, `run` where the server has none.
    `tries_left` says whether a further try of the task it was in may succeed.
    """
    if relocation is not None and not relocation.is_open:
        return Move.LEAVE
    if run is None:
        return Move.FAIL
    match run.state:
        case RunState.CANCELLED | RunState.CANCELLING:
            return Move.CANCEL
        case RunState.FAILED if relocation is not None and _ended_by_it(relocation, run):
            return _of_a_dead_run(relocation, run, tries_left, bounds, now)
        case RunState.FAILED | RunState.COMPLETED:
            return Move.FAIL
        case RunState.PAUSED:
            paused = relocation is None or relocation.status is Status.PAUSED
            return Move.LEAVE if paused else Move.PAUSE
        case RunState.SCHEDULED | RunState.PENDING | RunState.RUNNING | RunState.CRASHED:
            if relocation is None:
                return _of_an_unopened_run(run, bounds, now)
            return _of_a_dead_run(relocation, run, tries_left, bounds, now)


def _of_an_unopened_run(run: Run, bounds: Bounds, now: datetime) -> Move:
    if run.state is RunState.SCHEDULED:
        return Move.LEAVE
    if run.state is not RunState.CRASHED and now - run.since < bounds.start:
        return Move.LEAVE
    return Move.RESUME if run.deployed else Move.FAIL


def _of_a_dead_run(
    relocation: Relocation, run: Run, tries_left: bool, bounds: Bounds, now: datetime
) -> Move:
    if relocation.status is Status.PAUSED and run.state is RunState.CRASHED:
        return Move.LEAVE  # a person has to unpause it
    over = run.state in {RunState.CRASHED, RunState.FAILED}
    if not over and _may_be_starting(relocation, run, bounds, now):
        return Move.LEAVE
    given_up = (
        not run.deployed
        or not tries_left
        or relocation.resumes >= bounds.resumes
        or _interrupted_since(relocation, now) > bounds.interrupted
    )
    return Move.FAIL if given_up else Move.RESUME


def _ended_by_it(relocation: Relocation, run: Run) -> bool:
    """Say whether it was an interruption that failed the run, and no person after it."""
    interrupted = relocation.status is Status.INTERRUPTED
    return interrupted and relocation.updated_at >= run.since - _CLOCKS


def _may_be_starting(relocation: Relocation, run: Run, bounds: Bounds, now: datetime) -> bool:
    """Say whether the run's process may be on its way to opening the relocation."""
    if run.state is RunState.SCHEDULED:
        return _interrupted_since(relocation, now) <= bounds.interrupted
    opened = relocation.held_since is not None and relocation.held_since >= run.since
    return not (run.state is RunState.RUNNING and opened) and now - run.since < bounds.start


def _interrupted_since(relocation: Relocation, now: datetime) -> timedelta:
    interrupted = relocation.status is Status.INTERRUPTED
    return now - relocation.updated_at if interrupted else timedelta()

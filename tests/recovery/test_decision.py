"""What is to be done with a relocation, case by case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relocation.model import Relocation
from relocation.recovery.decision import Bounds, Move, next_move
from relocation.recovery.runs import Run, RunState
from relocation.steps import Status, Step, Task

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNDS = Bounds(start=timedelta(minutes=5), interrupted=timedelta(days=1), resumes=3)
LONG_AGO = NOW - timedelta(hours=1)
JUST_NOW = NOW - timedelta(seconds=10)


def relocation(status: Status = Status.IN_PROGRESS, **changes: Any) -> Relocation:
    """A relocation that a process held, and whose lease has run out."""
    begun = Relocation(
        id="r-1",
        status=status,
        step=Step.IMPORTING,
        task=Task.IMPORT_ORGANIZATIONS,
        round=1,
        settled_round=0,
        fence=1,
        held_since=LONG_AGO + timedelta(seconds=10),
        lease_until=None,
        resumes=0,
        resume_asked_at=None,
        owner="olivia",
        owner_email=None,
        creator=None,
        creator_email=None,
        archive="a",
        archive_bytes=None,
        files_kept=True,
        organizations=("acme",),
        reason=None,
        failed_task=None,
        internal_error=None,
        pause_before_step=None,
        cancel_before_step=None,
        created_at=LONG_AGO,
        updated_at=JUST_NOW,
        settled_at=None,
    )
    return replace(begun, **changes)


def run(state: RunState, since: datetime = LONG_AGO, *, deployed: bool = True) -> Run:
    return Run("r-1", state, since, deployed=deployed)


def decide(one: Relocation | None, its_run: Run | None, *, tries_left: bool = True) -> Move:
    return next_move(one, its_run, tries_left=tries_left, bounds=BOUNDS, now=NOW)


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (RunState.SCHEDULED, Move.LEAVE),  # a worker will take it
        (RunState.PENDING, Move.RESUME),  # a worker took it an hour ago, and died
        (RunState.RUNNING, Move.RESUME),  # its process opened it, and is gone
        (RunState.PAUSED, Move.PAUSE),
        (RunState.CANCELLING, Move.CANCEL),  # whoever was to kill it is gone too
        (RunState.CANCELLED, Move.CANCEL),
        (RunState.COMPLETED, Move.FAIL),  # by hand: the ledger knows of no success
        (RunState.FAILED, Move.FAIL),
        (RunState.CRASHED, Move.RESUME),
    ],
)
def test_a_begun_relocation_that_nobody_holds(state: RunState, move: Move) -> None:
    assert decide(relocation(), run(state)) is move


@pytest.mark.parametrize("state", list(RunState))
def test_a_settled_relocation_is_left_whatever_its_run_says(state: RunState) -> None:
    """A-95."""
    assert decide(relocation(Status.FAILURE, settled_round=1), run(state)) is Move.LEAVE
    assert decide(relocation(Status.SUCCESS, settled_round=1), None) is Move.LEAVE


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING, RunState.CRASHED])
def test_a_dead_run_fails_when_no_further_try_can_succeed(state: RunState) -> None:
    assert decide(relocation(), run(state), tries_left=False) is Move.FAIL


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.CRASHED])
def test_a_dead_run_without_a_deployment_fails(state: RunState) -> None:
    """Nobody could begin it again."""
    assert decide(relocation(), run(state, deployed=False)) is Move.FAIL


def test_a_relocation_that_was_asked_too_often_fails() -> None:
    assert decide(relocation(resumes=2), run(RunState.CRASHED)) is Move.RESUME
    assert decide(relocation(resumes=3), run(RunState.CRASHED)) is Move.FAIL


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING])
def test_a_run_that_may_be_starting_is_left(state: RunState) -> None:
    interrupted = relocation(Status.INTERRUPTED)
    assert decide(interrupted, run(state, JUST_NOW)) is Move.LEAVE


def test_a_process_that_opened_and_fell_silent_is_dead_at_once() -> None:
    just_opened = relocation(held_since=JUST_NOW + timedelta(seconds=5))
    assert decide(just_opened, run(RunState.RUNNING, JUST_NOW)) is Move.RESUME


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.CRASHED])
def test_what_stays_interrupted_too_long_fails(state: RunState) -> None:
    old = relocation(Status.INTERRUPTED, updated_at=NOW - timedelta(days=2))
    assert decide(old, run(state)) is Move.FAIL


@pytest.mark.parametrize(
    ("state", "since", "move"),
    [
        (RunState.PAUSED, LONG_AGO, Move.LEAVE),
        (RunState.SCHEDULED, LONG_AGO, Move.LEAVE),  # unpaused, waits for a worker
        (RunState.RUNNING, JUST_NOW, Move.LEAVE),  # unpaused, starting
        (RunState.RUNNING, LONG_AGO, Move.RESUME),  # a paused run "runs" without a process
        (RunState.CRASHED, LONG_AGO, Move.LEAVE),  # a person has to unpause it
        (RunState.CANCELLED, LONG_AGO, Move.CANCEL),  # no hook runs for this
        (RunState.FAILED, LONG_AGO, Move.FAIL),  # nobody unpaused it in time
    ],
)
def test_a_paused_relocation(state: RunState, since: datetime, move: Move) -> None:
    paused = relocation(Status.PAUSED, held_since=LONG_AGO - timedelta(hours=1))
    assert decide(paused, run(state, since)) is move


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (RunState.FAILED, Move.FAIL),  # its parameters did not fit, or the ledger was away
        (RunState.CRASHED, Move.RESUME),  # killed early; or its code could not be imported
        (RunState.CANCELLED, Move.CANCEL),
        (RunState.PENDING, Move.RESUME),  # a worker took it an hour ago, and died
        (RunState.RUNNING, Move.RESUME),
        (RunState.SCHEDULED, Move.LEAVE),
        (RunState.PAUSED, Move.LEAVE),
    ],
)
def test_a_run_that_never_opened_a_relocation(state: RunState, move: Move) -> None:
    assert decide(None, run(state)) is move


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING])
def test_a_run_that_may_be_about_to_open_its_relocation_is_left(state: RunState) -> None:
    assert decide(None, run(state, JUST_NOW)) is Move.LEAVE


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.CRASHED])
def test_a_run_without_a_deployment_that_never_opened_a_relocation_fails(state: RunState) -> None:
    assert decide(None, run(state, deployed=False)) is Move.FAIL


def test_a_relocation_whose_run_was_deleted_fails() -> None:
    assert decide(relocation(), None) is Move.FAIL

"""What is to be done with a relocation, case by case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypedDict, Unpack

import pytest

from relocation.model import Relocation
from relocation.recovery.decision import (
    CLOCK_TOLERANCE,
    ErrorKind,
    Facts,
    Limits,
    Move,
    next_move,
    suspension_key,
)
from relocation.recovery.runs import Run, RunState
from relocation.steps import Status, Step, Task

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(
    start=timedelta(minutes=5),
    interrupted=timedelta(days=1),
    resumes=3,
    worker=timedelta(seconds=15),
)
LONG_AGO = NOW - timedelta(hours=1)
JUST_NOW = NOW - timedelta(seconds=10)


class Changes(TypedDict, total=False):
    """What is different of a relocation."""

    settled_round: int
    resumes: int
    held_since: datetime | None
    lease_until: datetime | None
    resume_asked_at: datetime | None
    resume_asked_of: datetime | None
    suspended_since: datetime | None
    updated_at: datetime
    settled_at: datetime | None
    pause_before_step: Step | None
    cancel_before_step: Step | None


class More(TypedDict, total=False):
    """What else is known of it."""

    raised: ErrorKind
    own: bool
    tries_left: bool
    resumed: bool
    revealed: bool


def relocation(status: Status = Status.IN_PROGRESS, **changes: Unpack[Changes]) -> Relocation:
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
        resume_asked_of=None,
        suspended_since=None,
        owner="olivia",
        owner_email=None,
        creator=None,
        creator_email=None,
        archive="a",
        source=None,
        plan=None,
        archive_bytes=None,
        discarding_round=0,
        discarded_round=0,
        roll_back=None,
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


def decide(one: Relocation | None, its_run: Run | None, **more: Unpack[More]) -> Move:
    return next_move(Facts(one, its_run, NOW, **more), LIMITS)


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (RunState.SCHEDULED, Move.INTERRUPT),  # a worker will take it
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


@pytest.mark.parametrize("raised", [ErrorKind.UNSEEN, ErrorKind.TRANSIENT])
def test_a_run_that_failed_by_a_passing_error_goes_on_while_tries_are_left(
    raised: ErrorKind,
) -> None:
    failed = replace(run(RunState.FAILED), raised=True)
    assert decide(relocation(), failed, raised=raised) is Move.RESUME
    assert decide(relocation(Status.INTERRUPTED), failed, raised=raised) is Move.RESUME
    assert decide(relocation(), failed, raised=raised, tries_left=False) is Move.FAIL


def test_a_permanent_error_fails_whatever_is_left() -> None:
    failed = replace(run(RunState.FAILED), raised=True)
    assert decide(relocation(), failed, raised=ErrorKind.PERMANENT) is Move.FAIL
    assert decide(None, failed, raised=ErrorKind.PERMANENT) is Move.FAIL


def test_a_run_that_a_person_set_to_failed_fails() -> None:
    assert decide(relocation(), run(RunState.FAILED)) is Move.FAIL
    assert decide(relocation(Status.INTERRUPTED), run(RunState.FAILED)) is Move.FAIL


@pytest.mark.parametrize("state", list(RunState))
def test_a_process_that_was_fenced_out_decides_nothing(state: RunState) -> None:
    assert decide(relocation(), run(state), raised=ErrorKind.FENCED_OUT) is Move.LEAVE


@pytest.mark.parametrize("state", list(RunState))
def test_what_another_process_holds_is_looked_at_when_its_lease_is_over(state: RunState) -> None:
    held = relocation(lease_until=NOW + timedelta(seconds=1))
    assert decide(held, run(state)) is Move.AWAIT
    assert decide(held, run(state), own=True) is not Move.AWAIT
    assert decide(relocation(lease_until=NOW), run(state)) is not Move.AWAIT


def test_the_clocks_of_ledger_and_server_may_differ_by_the_tolerance() -> None:
    opened = relocation(held_since=JUST_NOW)
    ahead = run(RunState.RUNNING, JUST_NOW + CLOCK_TOLERANCE)
    assert decide(opened, ahead) is Move.RESUME
    further = run(RunState.RUNNING, JUST_NOW + CLOCK_TOLERANCE + timedelta(seconds=1))
    assert decide(opened, further) is Move.INTERRUPT  # another process is starting


CONFIRMED = relocation(Status.PAUSED, suspended_since=LONG_AGO)
UNCONFIRMED = relocation(Status.PAUSED)
LATER = LONG_AGO + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("paused", "state", "since", "move"),
    [
        # Suspended, and known to be: a person has to unpause it.
        (CONFIRMED, RunState.PAUSED, LONG_AGO, Move.LEAVE),
        (CONFIRMED, RunState.PAUSED, LATER, Move.CONFIRM),  # suspended anew, from outside
        (CONFIRMED, RunState.RUNNING, LONG_AGO - timedelta(1), Move.LEAVE),  # read too early
        (CONFIRMED, RunState.CRASHED, LATER, Move.SUSPEND),  # its worker reported that late
        (CONFIRMED, RunState.CRASHED, JUST_NOW, Move.LEAVE),  # and may do so again
        (CONFIRMED, RunState.CANCELLED, LATER, Move.CANCEL),  # no hook runs for this
        (CONFIRMED, RunState.FAILED, LATER, Move.FAIL),  # nobody unpaused it in time
        # Its process stopped, and could not suspend or confirm.
        (UNCONFIRMED, RunState.PAUSED, LONG_AGO, Move.CONFIRM),
        (UNCONFIRMED, RunState.RUNNING, JUST_NOW, Move.SUSPEND),
        (UNCONFIRMED, RunState.RUNNING, LONG_AGO, Move.SUSPEND),
        (UNCONFIRMED, RunState.CRASHED, LONG_AGO, Move.SUSPEND),
        (UNCONFIRMED, RunState.CRASHED, JUST_NOW, Move.LEAVE),
        (UNCONFIRMED, RunState.FAILED, LONG_AGO, Move.SUSPEND),  # the suspension raised
        (UNCONFIRMED, RunState.CANCELLED, LONG_AGO, Move.CANCEL),
        # A person scheduled it, by hand or by Retry.
        (UNCONFIRMED, RunState.SCHEDULED, JUST_NOW, Move.UNPAUSE),
        (CONFIRMED, RunState.PENDING, LATER, Move.UNPAUSE),
    ],
)
def test_a_paused_relocation_goes_on_only_when_a_person_wants_it(
    paused: Relocation, state: RunState, since: datetime, move: Move
) -> None:
    its_run = replace(run(state, since), raised=state is RunState.FAILED and paused is UNCONFIRMED)
    assert decide(paused, its_run) is move
    assert decide(paused, its_run, tries_left=False) is move


@pytest.mark.parametrize("paused", [CONFIRMED, UNCONFIRMED])
@pytest.mark.parametrize(
    "state",
    [RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING, RunState.CRASHED, RunState.FAILED],
)
def test_a_paused_relocation_whose_run_was_resumed_goes_on(
    paused: Relocation, state: RunState
) -> None:
    assert decide(paused, run(state, JUST_NOW), resumed=True) is Move.UNPAUSE


def test_a_paused_relocation_whose_run_was_deleted_fails() -> None:
    assert decide(CONFIRMED, None) is Move.FAIL


def test_an_unpaused_relocation_whose_run_is_still_suspended_is_resumed() -> None:
    known = relocation(Status.INTERRUPTED, suspended_since=LONG_AGO)
    assert decide(known, run(RunState.PAUSED, LONG_AGO)) is Move.RESUME
    assert decide(known, run(RunState.PAUSED, LATER)) is Move.PAUSE  # suspended anew
    unknown, own = relocation(Status.INTERRUPTED), suspension_key(1)
    assert decide(unknown, replace(run(RunState.PAUSED), suspension=own)) is Move.RESUME
    assert decide(unknown, replace(run(RunState.PAUSED), suspension="another")) is Move.PAUSE


@pytest.mark.parametrize("state", list(RunState))
def test_what_could_not_be_opened_is_settled_whatever_its_run_says(state: RunState) -> None:
    """Its owner had another one, and the process that was to tell it died."""
    move = decide(relocation(Status.FAILURE), run(state))
    cancelled = {RunState.CANCELLED, RunState.CANCELLING}
    assert move is (Move.CANCEL if state in cancelled else Move.FAIL)


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (RunState.FAILED, Move.FAIL),  # its parameters did not fit
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


def test_a_run_that_failed_because_the_ledger_was_away_goes_on_and_opens_its_relocation() -> None:
    failed = replace(run(RunState.FAILED), raised=True)
    assert decide(None, failed) is Move.RESUME
    assert decide(None, replace(failed, deployed=False)) is Move.FAIL


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING])
def test_a_run_that_may_be_about_to_open_its_relocation_is_left(state: RunState) -> None:
    assert decide(None, run(state, JUST_NOW)) is Move.LEAVE


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.CRASHED])
def test_a_run_without_a_deployment_that_never_opened_a_relocation_fails(state: RunState) -> None:
    assert decide(None, run(state, deployed=False)) is Move.FAIL


def test_a_relocation_whose_run_was_deleted_fails() -> None:
    assert decide(relocation(), None) is Move.FAIL


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.CANCELLING])
@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.INTERRUPTED])
def test_what_is_visible_is_not_cancelled_and_goes_on(status: Status, state: RunState) -> None:
    assert decide(relocation(status), run(state)) is Move.CANCEL
    assert decide(relocation(status), run(state), revealed=True) is Move.RESUME
    for its_run, tries_left in ((run(state), False), (run(state, deployed=False), True)):
        given_up = decide(relocation(status), its_run, revealed=True, tries_left=tries_left)
        assert given_up is Move.FAIL


def test_what_is_visible_and_paused_is_unpaused_by_a_cancellation() -> None:
    paused = relocation(Status.PAUSED, suspended_since=LONG_AGO)
    cancelled = run(RunState.CANCELLED, JUST_NOW)
    assert decide(paused, cancelled) is Move.CANCEL
    assert decide(paused, cancelled, revealed=True) is Move.UNPAUSE


@pytest.mark.parametrize("state", list(RunState))
def test_what_has_come_to_its_cancellation_is_cancelled_whatever_its_run_says(
    state: RunState,
) -> None:
    """Its process died in the roll back: to resume it would import all of it again."""
    due = relocation(cancel_before_step=Step.IMPORTING)
    assert decide(due, run(state)) is Move.CANCEL
    assert decide(due, run(state), revealed=True) is not Move.CANCEL
    later = relocation(cancel_before_step=Step.POSTPROCESSING)
    assert decide(later, run(RunState.CRASHED)) is Move.RESUME


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.CANCELLING])
def test_a_success_is_shown_whatever_cancelled_its_run(state: RunState) -> None:
    done = relocation(Status.SUCCESS, settled_round=1, settled_at=LONG_AGO)
    assert decide(done, run(state)) is Move.SHOW_SUCCESS

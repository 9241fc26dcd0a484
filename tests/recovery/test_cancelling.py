"""A cancellation at any point: what is hidden goes, what is visible stays, and both are told so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import pytest
from recovery_world import Seen, World
from task_results import COMPLETED, result_of

from relocation.errors import CommandError, RevealedError
from relocation.ledger.history import history_of
from relocation.ledger.holds import Hold
from relocation.ledger.outbox import notices_of
from relocation.ledger.transitions import record_pause, schedule_cancel
from relocation.ledger.tries import begin_try, complete_task, succeed
from relocation.model import RollBackReport
from relocation.recovery.actions import abort, can_roll_back, roll_back_ended
from relocation.recovery.next_steps import next_steps
from relocation.recovery.reconcile import ReconcileResult, await_worker, reconcile
from relocation.recovery.runs import RunState
from relocation.recovery.settlement import end_relocation
from relocation.steps import POLICIES, LifecycleEvent, RollBackState, Status, Step, Task

DOMAIN = "example.org"
TASKS = list(Task)
BEFORE_REVEAL = TASKS[: TASKS.index(Task.REVEAL_ORGANIZATIONS)]
BEFORE_IMPORT = TASKS[: TASKS.index(Task.IMPORT_ORGANIZATIONS)]
Undo = Callable[..., RollBackReport]


class Killed(BaseException):
    """The process dies here."""


class Destination:
    """What a roll back finds: rows, or a reason why they stay."""

    def __init__(self) -> None:
        self.rows = {"sentry.organization": 1}
        self.refusal: Exception | None = None
        self.dies = False

    def roll_back(
        self,
        relocation_id: str,
        fence: int,
        *,
        revealed: bool,
        begin: Callable[[], None] = lambda: None,
    ) -> RollBackReport:
        if self.refusal and not (revealed and isinstance(self.refusal, RevealedError)):
            raise self.refusal
        begin()
        if self.dies:
            raise Killed
        removed, self.rows = self.rows, {}
        return RollBackReport(removed, {})


@pytest.fixture
def destination(world: World) -> Destination:
    """What the recovery rolls back."""
    made = Destination()
    world.context = replace(world.context, roll_back=made.roll_back)
    return made


def do(world: World, hold: Hold, *tasks: Task) -> None:
    for task in tasks:
        number = begin(world, hold, task)
        ledger, result = world.context.ledger, result_of(task)
        complete_task(ledger, hold, number, result, sender_domain=DOMAIN, now=world.now)


def begin(world: World, hold: Hold, task: Task) -> int:
    return begin_try(world.context.ledger, hold, task, POLICIES[task], "host:1", now=world.now)


def look(world: World, **how: Unpack[Seen]) -> ReconcileResult:
    return reconcile(world.context, "r-1", world.runs.runs.get("r-1"), **how)


def kinds(world: World) -> list[str]:
    return [str(notice.kind) for notice in notices_of(world.context.ledger, "r-1")]


def history(world: World) -> list[LifecycleEvent]:
    return [event.what for event in history_of(world.context.ledger, "r-1")]


def page(world: World) -> str:
    return next_steps(world.context.ledger, world.stored())


def cancelled(world: World, *tasks: Task) -> None:
    """Let a relocation be cancelled in the Prefect UI after these tasks."""
    do(world, world.open(), *tasks)
    world.runs.put("r-1", RunState.CANCELLED)
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED


def test_what_is_hidden_is_removed_and_the_page_says_so(
    world: World, destination: Destination
) -> None:
    cancelled(world, *BEFORE_REVEAL)
    assert world.stored().status is Status.CANCELLED
    assert destination.rows == {}
    assert "was removed from the destination" in page(world)
    assert "rollback" not in page(world)
    assert LifecycleEvent.ROLLED_BACK in history(world)


def test_what_never_began_an_import_is_said_to_have_changed_nothing(world: World) -> None:
    cancelled(world, *BEFORE_IMPORT)
    assert "Nothing was changed" in page(world)
    assert "removed" not in page(world)
    assert LifecycleEvent.ROLLED_BACK not in history(world)


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.CANCELLING])
def test_once_visible_a_cancellation_is_not_obeyed_and_it_completes(
    world: World, destination: Destination, state: RunState
) -> None:
    do(world, world.open(), *BEFORE_REVEAL, Task.REVEAL_ORGANIZATIONS)
    world.runs.put("r-1", state)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert world.runs.rescheduled == ["r-1"]
    assert destination.rows
    assert kinds(world) == []
    told = [one.detail for one in history_of(world.context.ledger, "r-1")]
    assert any("too late" in detail for detail in told)
    hold = world.open()
    succeed(
        world.context.ledger,
        hold,
        begin(world, hold, Task.COMPLETE),
        COMPLETED,
        sender_domain=DOMAIN,
        now=world.now,
    )
    assert world.stored().status is Status.SUCCESS


def test_a_visible_one_that_was_paused_and_cancelled_goes_on_as_well(
    world: World, destination: Destination
) -> None:
    hold = world.open()
    do(world, hold, *BEFORE_REVEAL, Task.REVEAL_ORGANIZATIONS)
    record_pause(world.context.ledger, hold, Step.COMPLETED, world.now)
    world.runs.put("r-1", RunState.CANCELLED)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert destination.rows


def test_a_cancelled_run_of_a_visible_one_waits_for_its_worker_too(
    world: World, destination: Destination
) -> None:
    do(world, world.open(), *BEFORE_REVEAL, Task.REVEAL_ORGANIZATIONS)
    since = world.runs.put("r-1", RunState.CANCELLED).since
    assert destination.rows
    await_worker(world.context, "r-1", sleep=world.wait)
    assert (world.now - since).total_seconds() == world.context.settings.resume_after


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.CANCELLING])
def test_a_run_that_was_cancelled_after_the_success_shows_the_success(
    world: World, state: RunState
) -> None:
    hold = world.open()
    number = begin(world, hold, Task.COMPLETE)
    succeed(world.context.ledger, hold, number, COMPLETED, sender_domain=DOMAIN, now=world.now)
    world.runs.put("r-1", state)
    world.wait(world.context.settings.start_limit)
    look(world)
    assert world.runs.runs["r-1"].state is RunState.COMPLETED
    assert "too late" in world.runs.runs["r-1"].message


def test_what_only_the_destination_knows_to_be_visible_goes_on_too(
    world: World, destination: Destination
) -> None:
    """Its process died between the two commits of the reveal."""
    hold = world.open()
    do(world, hold, *BEFORE_REVEAL)
    schedule_cancel(world.context.ledger, "r-1", Step.REVEALING, world.now)
    begin(world, hold, Task.REVEAL_ORGANIZATIONS)
    destination.refusal = RevealedError("These organizations are already visible: acme.")
    world.runs.put("r-1", RunState.CANCELLED)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert destination.rows
    assert kinds(world) == []
    stored = world.stored()
    assert (stored.status, stored.cancel_before_step) == (Status.INTERRUPTED, None)
    assert stored.roll_back is None
    assert LifecycleEvent.SCHEDULE_CLEARED in history(world)
    with pytest.raises(CommandError, match="already visible"):
        abort(world.context, "r-1")


def test_what_only_the_destination_knows_to_be_visible_goes_on_from_a_pause(
    world: World, destination: Destination
) -> None:
    hold = world.open()
    do(world, hold, *BEFORE_REVEAL)
    begin(world, hold, Task.REVEAL_ORGANIZATIONS)
    record_pause(world.context.ledger, hold, Step.REVEALING, world.now)
    destination.refusal = RevealedError("These organizations are already visible: acme.")
    world.runs.put("r-1", RunState.CANCELLED)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert destination.rows
    assert kinds(world) == []


@pytest.mark.parametrize("after", [RunState.CRASHED, RunState.SCHEDULED, RunState.RUNNING])
def test_a_scheduled_cancellation_that_dies_in_its_roll_back_is_carried_on(
    world: World, destination: Destination, after: RunState
) -> None:
    """Else the run would be resumed, and import all of it again."""
    hold = world.open()
    do(world, hold, *BEFORE_IMPORT, Task.IMPORT_ORGANIZATIONS)
    schedule_cancel(world.context.ledger, "r-1", Step.POSTPROCESSING, world.now)
    destination.dies = True
    with pytest.raises(Killed):
        end_relocation(world.context, "r-1", world.stored(), None, cancelled=True, own=hold)
    assert world.stored().roll_back is RollBackState.BEGUN
    destination.dies = False
    world.runs.put("r-1", after)
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().status is Status.CANCELLED
    assert destination.rows == {}
    assert world.runs.rescheduled == []
    assert world.runs.runs["r-1"].state is RunState.CANCELLED
    assert kinds(world) == ["CANCELLED"]


def test_a_process_that_is_back_before_anybody_looked_cancels_it_at_its_first_step(
    world: World, destination: Destination
) -> None:
    hold = world.open()
    do(world, hold, *BEFORE_IMPORT, Task.IMPORT_ORGANIZATIONS)
    destination.dies = True
    with pytest.raises(Killed):
        end_relocation(world.context, "r-1", world.stored(), None, cancelled=True, own=hold)
    world.open()
    assert world.stored().cancel_before_step is Step.UPLOADING


def test_what_others_hang_on_stays_and_the_page_says_how_to_remove_it(
    world: World, destination: Destination
) -> None:
    destination.refusal = CommandError("1 of sentry.team refers to what would be removed.")
    cancelled(world, *BEFORE_REVEAL)
    stored = world.stored()
    assert (stored.status, stored.roll_back) == (Status.CANCELLED, None)
    assert "is in the destination, where nobody can see it" in page(world)
    assert "removed from the destination" not in page(world)
    assert "relocation rollback r-1" in page(world)
    destination.refusal = None
    assert can_roll_back(world.context, "r-1")
    assert roll_back_ended(world.context, "r-1").removed == {"sentry.organization": 1}
    assert "was removed from the destination" in page(world)
    assert "rollback" not in page(world)
    assert not can_roll_back(world.context, "r-1")
    assert world.stored().status is Status.CANCELLED
    assert kinds(world) == ["CANCELLED"]


def failed(world: World, *tasks: Task) -> None:
    hold = world.open()
    do(world, hold, *tasks)
    world.runs.put("r-1", RunState.FAILED)
    error = CommandError("It cannot go on.")
    assert look(world, error=error, own=hold) is ReconcileResult.SETTLED


@pytest.mark.parametrize("tasks", [[], BEFORE_IMPORT])
def test_a_roll_back_of_what_never_began_an_import_does_nothing(
    world: World, tasks: list[Task]
) -> None:
    failed(world, *tasks)
    before = world.stored(), history(world)
    assert not can_roll_back(world.context, "r-1")
    assert roll_back_ended(world.context, "r-1").removed == {}
    assert (world.stored(), history(world)) == before


class NotAgreedError(Exception):
    """A person said no."""


def test_nobody_is_asked_to_agree_to_a_roll_back_that_cannot_be_done(
    world: World, destination: Destination
) -> None:
    failed(world, *BEFORE_REVEAL)
    destination.refusal = CommandError("1 of sentry.team refers to what would be removed.")
    before = history(world)
    with pytest.raises(CommandError, match="refers to"):
        roll_back_ended(world.context, "r-1", lambda: pytest.fail("it asks"))
    assert history(world) == before


def test_a_roll_back_that_is_not_agreed_to_removes_nothing_and_is_no_history(
    world: World, destination: Destination
) -> None:
    def refuse() -> None:
        raise NotAgreedError

    failed(world, *BEFORE_REVEAL)
    rows, before = dict(destination.rows), history(world)
    with pytest.raises(NotAgreedError):
        roll_back_ended(world.context, "r-1", refuse)
    assert destination.rows == rows
    assert (world.stored().roll_back, world.stored().lease_until) == (None, None)
    assert history(world) == before
    assert roll_back_ended(world.context, "r-1").removed
    told = [LifecycleEvent.TAKEN_OVER, LifecycleEvent.ROLLED_BACK]
    assert history(world) == [*before, *told]


def test_a_failed_one_that_was_rolled_back_is_not_said_to_be_hidden(
    world: World, destination: Destination
) -> None:
    failed(world, *BEFORE_REVEAL)
    assert "nobody can see it" in page(world)
    roll_back_ended(world.context, "r-1")
    assert destination.rows == {}
    assert "was removed from the destination" in page(world)
    assert "rollback" not in page(world)
    assert history(world).count(LifecycleEvent.ROLLED_BACK) == 1


def test_a_roll_back_that_died_is_said_to_have_begun_and_can_be_repeated(
    world: World, destination: Destination
) -> None:
    failed(world, *BEFORE_REVEAL)
    destination.dies = True
    with pytest.raises(Killed):
        roll_back_ended(world.context, "r-1")
    assert "has started but not finished" in page(world)
    assert "relocation rollback r-1" in page(world)
    assert LifecycleEvent.ROLLED_BACK not in history(world)
    destination.dies = False
    roll_back_ended(world.context, "r-1")
    assert world.stored().roll_back is RollBackState.DONE
    assert world.stored().cancel_before_step is None


def test_an_import_after_a_roll_back_counts_again(world: World, destination: Destination) -> None:
    failed(world, *BEFORE_REVEAL)
    roll_back_ended(world.context, "r-1")
    hold = world.open()
    begin(world, hold, Task.IMPORT_ORGANIZATIONS)
    destination.rows = {"sentry.organization": 1}
    world.runs.put("r-1", RunState.CANCELLED)
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED
    assert destination.rows == {}


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.IN_PROGRESS])
def test_only_what_failed_or_was_cancelled_is_rolled_back(world: World, status: Status) -> None:
    hold = world.open()
    if status is Status.SUCCESS:
        number = begin(world, hold, Task.COMPLETE)
        succeed(world.context.ledger, hold, number, COMPLETED, sender_domain=DOMAIN, now=world.now)
    with pytest.raises(CommandError, match=f"This one is {status}"):
        roll_back_ended(world.context, "r-1")

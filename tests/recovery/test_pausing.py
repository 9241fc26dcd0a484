"""A pause holds until somebody unpauses it, whoever dies or looks in the middle of it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from recovery_world import REQUEST, World
from sqlalchemy import select

from relocation.errors import CommandError
from relocation.ledger.history import history_of
from relocation.ledger.holds import Hold
from relocation.ledger.outbox import notices_of
from relocation.ledger.tables import relocations
from relocation.ledger.transitions import confirm_suspension, record_pause, schedule_pause
from relocation.ledger.tries import begin_try
from relocation.recovery.actions import unpause
from relocation.recovery.decision import suspension_key
from relocation.recovery.reconcile import ReconcileResult, reconcile
from relocation.recovery.runs import Run, RunState
from relocation.recovery.sweep import sweep
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, LifecycleEvent, Status, Step, Task

LONG = timedelta(days=1)


def swept(world: World) -> dict[str, ReconcileResult | None]:
    return {one.relocation_id: one.outcome for one in sweep(world.context)}


def pause(world: World, relocation_id: str = "r-1", request: RelocationRequest = REQUEST) -> Hold:
    """Let a process record that it pauses, and come no further."""
    hold = world.open(relocation_id, request)
    record_pause(world.context.ledger, hold, Step.IMPORTING, world.now)
    return hold


def suspend(world: World, hold: Hold) -> Run:
    """Let it suspend its run, and come no further."""
    run = world.runs.read([hold.relocation_id])[hold.relocation_id]
    return world.runs.suspend(run, suspension_key(hold.fence), LONG)


def paused(world: World, relocation_id: str = "r-1", request: RelocationRequest = REQUEST) -> Hold:
    """Let a process pause, suspend its run, and confirm that."""
    hold = pause(world, relocation_id, request)
    run = suspend(world, hold)
    assert confirm_suspension(world.context.ledger, relocation_id, hold.fence, run.since)
    return hold


def waits(world: World) -> bool:
    """Whether it is paused, known to be suspended, and told to nobody."""
    stored, run = world.stored(), world.runs.runs["r-1"]
    return (
        stored.status is Status.PAUSED
        and run.state is RunState.PAUSED
        and stored.suspended_since == run.since
        and world.runs.rescheduled == []
        and notices_of(world.context.ledger, "r-1") == []
    )


def test_a_paused_relocation_is_told_to_nobody_and_resumed_by_nobody(world: World) -> None:
    paused(world)
    world.wait(10**6)
    assert swept(world) == {}
    assert waits(world)


def test_a_sweep_between_the_pause_and_the_suspension_suspends_the_run(world: World) -> None:
    hold = pause(world)
    assert swept(world) == {"r-1": ReconcileResult.PAUSED}
    assert waits(world)
    assert suspend(world, hold).state is RunState.PAUSED  # its process comes to it now
    assert swept(world) == {}
    assert waits(world)


def test_a_sweep_confirms_what_a_dead_process_could_not(world: World) -> None:
    suspend(world, pause(world))
    assert swept(world) == {"r-1": ReconcileResult.PAUSED}
    assert waits(world)


def test_a_process_that_dies_before_it_suspends_its_run_leaves_a_pause(world: World) -> None:
    pause(world)
    world.runs.put("r-1", RunState.CRASHED, "killed")
    assert swept(world) == {"r-1": ReconcileResult.LEFT}  # its worker may report the crash again
    world.wait(16)
    assert swept(world) == {"r-1": ReconcileResult.PAUSED}
    assert waits(world)


def test_a_crash_that_is_reported_over_a_suspension_resumes_nothing(world: World) -> None:
    paused(world)
    world.runs.put("r-1", RunState.CRASHED, "reported once more")
    world.wait(16)
    assert swept(world) == {"r-1": ReconcileResult.PAUSED}
    assert waits(world)


def test_a_suspension_that_raises_fails_nothing(world: World) -> None:
    hold = pause(world)
    world.runs.put("r-1", RunState.FAILED, raised=True)
    failed = world.runs.runs["r-1"]
    error = ConnectionError("the server is away")
    assert reconcile(world.context, "r-1", failed, error=error, own=hold, set_state=False) is (
        ReconcileResult.LEFT
    )
    world.wait(16)
    assert swept(world) == {"r-1": ReconcileResult.PAUSED}
    assert waits(world)


def test_a_sweep_with_a_run_that_it_read_before_the_pause_resumes_nothing(world: World) -> None:
    hold = world.open()
    before = world.runs.runs["r-1"]
    record_pause(world.context.ledger, hold, Step.IMPORTING, world.now)
    run = suspend(world, hold)
    confirm_suspension(world.context.ledger, "r-1", hold.fence, run.since)
    world.wait(10**6)
    assert reconcile(world.context, "r-1", before) is ReconcileResult.LEFT
    assert waits(world)


def test_a_run_is_read_again_before_it_is_resumed(world: World) -> None:
    begin = world.open()
    crashed = world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    world.runs.put("r-1", RunState.CANCELLED)
    assert reconcile(world.context, "r-1", crashed) is ReconcileResult.SETTLED
    assert world.stored().status is Status.CANCELLED
    assert world.stored().fence == begin.fence
    assert world.runs.rescheduled == []


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING])
def test_resume_in_the_ui_lets_it_go_on(world: World, state: RunState) -> None:
    paused(world)
    world.runs.put("r-1", RunState.SCHEDULED)
    world.wait(5)
    world.runs.put("r-1", state)
    assert swept(world) == {"r-1": ReconcileResult.UNPAUSED}
    assert world.stored().status is Status.INTERRUPTED
    assert world.runs.rescheduled == []  # it is on its way
    world.wait(301)
    assert swept(world) == {
        "r-1": ReconcileResult.LEFT if state is RunState.SCHEDULED else ReconcileResult.RESUMED
    }


def test_a_process_that_dies_after_resume_in_the_ui_is_resumed(world: World) -> None:
    paused(world)
    world.runs.put("r-1", RunState.SCHEDULED)
    world.runs.put("r-1", RunState.RUNNING)
    world.runs.put("r-1", RunState.CRASHED, "killed")
    world.wait(16)
    assert swept(world) == {"r-1": ReconcileResult.RESUMED}
    assert notices_of(world.context.ledger, "r-1") == []


def test_resume_in_the_ui_counts_though_nobody_confirmed_the_suspension(world: World) -> None:
    suspend(world, pause(world))
    world.runs.put("r-1", RunState.SCHEDULED)
    assert swept(world) == {"r-1": ReconcileResult.UNPAUSED}


def test_unpausing_schedules_the_run_and_says_so_in_the_history(world: World) -> None:
    paused(world)
    assert unpause(world.context, "r-1", None)
    assert world.runs.rescheduled == ["r-1"]
    happened = [event.what for event in history_of(world.context.ledger, "r-1")]
    assert happened[-2:] == [LifecycleEvent.UNPAUSED, LifecycleEvent.RESUME_ASKED]
    assert swept(world) == {"r-1": ReconcileResult.LEFT}
    assert world.runs.rescheduled == ["r-1"]


def test_unpausing_is_remembered_while_the_server_is_away(world: World) -> None:
    paused(world)
    world.runs.away = True
    with pytest.raises(ConnectionError):
        unpause(world.context, "r-1", None)
    world.runs.away = False
    assert swept(world) == {"r-1": ReconcileResult.RESUMED}
    assert world.runs.rescheduled == ["r-1"]


def test_an_unpaused_relocation_whose_process_dies_before_it_opens_it_goes_on(world: World) -> None:
    paused(world)
    unpause(world.context, "r-1", None)
    world.runs.put("r-1", RunState.RUNNING)
    world.wait(1)
    world.runs.put("r-1", RunState.CRASHED, "killed")
    world.wait(16)
    assert swept(world) == {"r-1": ReconcileResult.RESUMED}
    assert world.runs.rescheduled == ["r-1", "r-1"]


def test_unpausing_before_the_process_has_suspended_its_run_is_not_lost(world: World) -> None:
    """Its suspension comes after the unpausing, and must not outlive it."""
    hold = pause(world)
    unpause(world.context, "r-1", None)
    run = world.runs.put("r-1", RunState.PAUSED, suspension=suspension_key(hold.fence))
    confirm_suspension(world.context.ledger, "r-1", hold.fence, run.since)
    world.wait(21)
    assert swept(world) == {"r-1": ReconcileResult.RESUMED}


def test_a_second_pause_holds_as_the_first_one_did(world: World) -> None:
    """Prefect refuses a second suspension under the same key, and says nothing."""
    paused(world)
    unpause(world.context, "r-1", Step.POSTPROCESSING)
    hold = world.open()
    begin_try(
        world.context.ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "w", now=world.now
    )
    world.runs.rescheduled.clear()
    record_pause(world.context.ledger, hold, Step.POSTPROCESSING, world.now)
    run = suspend(world, hold)
    assert run.state is RunState.PAUSED
    confirm_suspension(world.context.ledger, "r-1", hold.fence, run.since)
    world.wait(10**6)
    assert swept(world) == {}
    assert waits(world)


def test_what_is_not_paused_cannot_be_unpaused(world: World) -> None:
    world.open()
    with pytest.raises(CommandError, match="not paused"):
        unpause(world.context, "r-1", None)
    schedule_pause(world.context.ledger, "r-1", Step.IMPORTING, world.now)
    assert not unpause(world.context, "r-1", None)
    assert world.runs.rescheduled == []


def test_hundreds_that_are_paused_keep_no_dead_one_waiting(
    world: World, many: Callable[[object], RelocationRequest]
) -> None:
    paused(world, "p-0", request=many(0))
    with world.context.ledger.begin() as connection:
        row = dict(connection.execute(select(relocations)).one()._mapping)
        copies = [row | {"id": f"p-{n}", "owner": f"owner-{n}"} for n in range(1, 600)]
        connection.execute(relocations.insert(), copies)
    world.runs.states |= {f"p-{n}": [world.runs.runs["p-0"]] for n in range(1, 600)}
    dead = world.open("dead", many("dead"))
    world.runs.put("dead", RunState.CRASHED)
    world.runs.put("p-599", RunState.CANCELLED)
    world.wait(31)
    assert swept(world) == {"dead": ReconcileResult.RESUMED, "p-599": ReconcileResult.SETTLED}
    assert world.stored("dead").fence == dead.fence


def test_a_paused_relocation_whose_run_was_deleted_is_settled(world: World) -> None:
    paused(world)
    world.runs.delete("r-1")
    assert swept(world) == {"r-1": ReconcileResult.SETTLED}
    assert world.stored().status is Status.FAILURE

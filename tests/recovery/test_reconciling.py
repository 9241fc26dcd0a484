"""Settle, resume, pause or leave: whoever notices, and however often."""

from datetime import timedelta
from typing import Unpack

import pytest
from ledgers import at
from recovery_world import REQUEST, Seen, World
from task_results import COMPLETED

from relocation.errors import FencedOut, MissingArchiveError, OwnerBusyError, PermanentError
from relocation.ledger.history import history_of
from relocation.ledger.holds import Hold, open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import find_relocation
from relocation.ledger.tables import TryOutcome
from relocation.ledger.transitions import record_pause
from relocation.ledger.tries import begin_try, end_try, succeed
from relocation.notices.kinds import NoticeKind
from relocation.recovery.alerts import alert_if_stuck, alert_unsettled
from relocation.recovery.reconcile import ReconcileResult, await_worker, reconcile, wait_until_free
from relocation.recovery.runs import RunState
from relocation.steps import POLICIES, LifecycleEvent, Status, Step, Task

IMPORT = Task.IMPORT_ORGANIZATIONS
SCAN = Task.SCAN_EXPORT


def look(world: World, relocation_id: str = "r-1", **how: Unpack[Seen]) -> ReconcileResult:
    run = world.runs.read([relocation_id]).get(relocation_id)
    return reconcile(world.context, relocation_id, run, **how)


def begin(world: World, hold: Hold, task: Task = SCAN) -> int:
    return begin_try(world.context.ledger, hold, task, POLICIES[task], "host:1", now=world.now)


def state(world: World, relocation_id: str = "r-1") -> RunState:
    return world.runs.runs[relocation_id].state


def kinds(world: World, relocation_id: str = "r-1") -> list[str]:
    return [str(notice.kind) for notice in notices_of(world.context.ledger, relocation_id)]


def test_a_relocation_with_a_live_lease_is_left_whatever_its_run_says(world: World) -> None:
    """DESIGN 6.6: a late report of a crash, or a state set by hand, under a working process."""
    world.open()
    for state in RunState:
        world.runs.put("r-1", state)
        before = world.stored()
        assert look(world) is ReconcileResult.HELD
        assert world.stored() == before
    assert world.runs.rescheduled == []


def test_a_crashed_run_is_interrupted_and_resumed_once_its_lease_is_over(world: World) -> None:
    begin(world, world.open())
    world.runs.put("r-1", RunState.CRASHED, "killed")
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert world.stored().status is Status.INTERRUPTED
    assert world.runs.rescheduled == ["r-1"]
    assert kinds(world) == []
    assert [event.what for event in history_of(world.context.ledger, "r-1")] == [
        LifecycleEvent.OPENED,
        LifecycleEvent.INTERRUPTED,
        LifecycleEvent.RESUME_ASKED,
    ]


def test_a_hook_records_the_interruption_and_leaves_the_run_alone(world: World) -> None:
    hold = world.open()
    world.runs.put("r-1", RunState.CRASHED)
    assert look(world, own=hold, set_state=False) is ReconcileResult.INTERRUPTED
    assert world.stored().status is Status.INTERRUPTED
    assert world.runs.rescheduled == []


def test_of_many_that_resume_at_once_one_schedules_the_run(world: World) -> None:
    world.open()
    crashed = world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    outcomes = [reconcile(world.context, "r-1", crashed) for _ in range(5)]
    assert outcomes == [ReconcileResult.RESUMED] + [ReconcileResult.LEFT] * 4
    assert world.runs.rescheduled == ["r-1"]


def test_a_run_goes_on_only_when_the_worker_that_reported_its_crash_is_done(world: World) -> None:
    """A worker with a limit ends when it is given a run while its hook for that is at work."""
    world.open()
    world.wait(31)
    world.runs.put("r-1", RunState.CRASHED)
    assert look(world) is ReconcileResult.INTERRUPTED
    world.wait(14)
    assert look(world) is ReconcileResult.LEFT
    assert world.runs.rescheduled == []
    world.wait(1)
    assert look(world) is ReconcileResult.RESUMED


def test_waiting_for_a_worker_begins_anew_with_its_second_report(world: World) -> None:
    reported = world.runs.put("r-1", RunState.CRASHED).since

    def sleep(seconds: float) -> None:
        world.wait(seconds)
        if world.now - reported == timedelta(seconds=15):
            world.runs.put("r-1", RunState.CRASHED, "reported once more")

    run = await_worker(world.context, "r-1", sleep=sleep)
    assert run is not None
    assert run.message == "reported once more"
    assert world.now - reported == timedelta(seconds=30)


def test_nobody_waits_for_the_worker_of_a_run_that_did_not_crash(world: World) -> None:
    world.runs.put("r-1", RunState.CANCELLED)
    assert await_worker(world.context, "r-1", sleep=world.wait) is not None
    hold = world.open("r-3")
    world.runs.put("r-3", RunState.FAILED)
    assert look(world, "r-3", error=PermanentError("No."), own=hold) is ReconcileResult.SETTLED
    assert await_worker(world.context, "r-3", sleep=world.wait) is not None
    assert await_worker(world.context, "r-2", sleep=world.wait) is None
    assert world.now == world.runs.runs["r-1"].since


def test_an_error_between_two_tries_is_an_interruption_and_goes_on(world: World) -> None:
    """Seen in a soak: a connection was cut while the flow asked whether a task was done."""
    hold = world.open()
    world.runs.put("r-1", RunState.FAILED, raised=True)
    assert (
        look(world, error=OSError("cut"), own=hold, set_state=False) is ReconcileResult.INTERRUPTED
    )
    assert kinds(world) == []
    world.wait(14)
    assert look(world) is ReconcileResult.LEFT
    world.wait(2)
    assert look(world) is ReconcileResult.RESUMED
    assert world.runs.rescheduled == ["r-1"]


def test_an_error_does_not_hide_that_a_run_was_cancelled(world: World) -> None:
    hold = world.open()
    world.runs.put("r-1", RunState.CANCELLED)
    assert look(world, error=OSError("cut"), own=hold, set_state=False) is ReconcileResult.SETTLED
    assert world.stored().status is Status.CANCELLED


def test_an_error_of_the_last_try_is_no_interruption(world: World) -> None:
    hold = world.open()
    for _ in range(POLICIES[SCAN].tries):
        number = begin(world, hold)
        ledger, now = world.context.ledger, world.now
        end_try(ledger, hold, SCAN, number, TryOutcome.FAILED, error="cut", now=now)
    world.runs.put("r-1", RunState.FAILED)
    assert look(world, error=OSError("cut"), own=hold, set_state=False) is ReconcileResult.SETTLED
    assert kinds(world) == ["FAILED", "OPERATOR"]


def test_an_interrupted_run_that_a_person_sets_to_failed_fails(world: World) -> None:
    hold = world.open()
    world.runs.put("r-1", RunState.FAILED)
    look(world, error=OSError("cut"), own=hold, set_state=False)
    world.wait(10)
    world.runs.put("r-1", RunState.FAILED, "set by hand")
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().status is Status.FAILURE


def test_a_resumption_that_a_second_crash_report_undid_is_asked_again(world: World) -> None:
    """Measured: the worker reports a SIGKILL twice, the second time over the new state."""
    world.open()
    world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    world.wait(1)
    world.runs.put("r-1", RunState.CRASHED, "reported once more")
    world.wait(16)
    assert look(world) is ReconcileResult.RESUMED
    assert world.runs.rescheduled == ["r-1", "r-1"]


def test_a_resumed_relocation_goes_on_in_its_round_with_its_tries_counted(world: World) -> None:
    begin(world, world.open())
    world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    look(world)
    successor = world.open()
    assert (successor.round, successor.fence) == (1, 2)
    assert begin(world, successor) == 2


def test_a_task_that_keeps_killing_its_process_fails_and_says_so(world: World) -> None:
    for _ in range(POLICIES[SCAN].tries):
        begin(world, world.open())
        world.runs.put("r-1", RunState.CRASHED, "killed")
        world.wait(31)
        last = look(world)
    assert last is ReconcileResult.SETTLED
    stored = world.stored()
    assert (stored.status, stored.failed_task) == (Status.FAILURE, SCAN)
    assert (stored.reason or "").endswith("it was interrupted 4 times.")
    assert kinds(world) == ["FAILED", "OPERATOR"]
    assert world.runs.rescheduled == ["r-1"] * 3


def test_what_the_owner_can_mend_is_told_although_the_last_try_was_interrupted(
    world: World,
) -> None:
    missing = MissingArchiveError("There is no archive a.tar; upload it again.")
    hold = world.open()
    for _ in range(POLICIES[SCAN].tries - 1):
        number = begin(world, hold)
        end_try(
            world.context.ledger,
            hold,
            SCAN,
            number,
            TryOutcome.FAILED,
            error="",
            cause=missing,
            now=world.now,
        )
    begin(world, hold)
    world.runs.put("r-1", RunState.CRASHED, "killed")
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().reason == missing.reason
    (notice,) = notices_of(world.context.ledger, "r-1")
    assert notice.context["next_step"] == missing.next_step


def test_what_a_dead_process_was_refused_is_not_tried_again(world: World) -> None:
    """The Prefect server was down when the run failed: no hook ran, and the run seems to run."""
    hold = world.open()
    number = begin(world, hold)
    refusal = PermanentError("Only acme is in the export.")
    ledger = world.context.ledger
    end_try(
        ledger,
        hold,
        SCAN,
        number,
        TryOutcome.REFUSED,
        error="Traceback",
        cause=refusal,
        now=world.now,
    )
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().reason == "Only acme is in the export."
    assert "Traceback" in (world.stored().internal_error or "")
    assert world.runs.runs["r-1"].state is RunState.FAILED
    owners, operators = notices_of(ledger, "r-1")
    assert owners.context["next_step"] == refusal.next_step
    assert operators.context["fault"].startswith("PermanentError: Only acme is in the export.")


def test_a_failure_is_settled_by_its_own_process_without_waiting(world: World) -> None:
    hold = world.open()
    world.runs.put("r-1", RunState.FAILED)
    error = PermanentError("No.")
    assert look(world, error=error, own=hold, set_state=False) is ReconcileResult.SETTLED
    assert look(world, error=error, own=hold, set_state=False) is ReconcileResult.LEFT
    assert world.stored().reason == "No."
    assert kinds(world) == ["FAILED", "OPERATOR"]


def test_a_process_that_was_fenced_out_settles_nothing(world: World) -> None:
    """DESIGN 6.6: two engines on one run; the older one's error set the shared run Failed."""
    old = world.open()
    world.open()
    world.runs.put("r-1", RunState.FAILED)
    lost = FencedOut("Another process has taken this relocation over.")
    assert look(world, error=lost, own=old, set_state=False) is ReconcileResult.LEFT
    assert look(world, error=OSError(), own=old, set_state=False) is ReconcileResult.HELD
    world.wait(31)  # even where the successor's lease is over: its end is not this one's to tell
    assert look(world, error=lost, own=old, set_state=False) is ReconcileResult.LEFT
    assert world.stored().status is Status.IN_PROGRESS


def test_a_suspended_run_that_died_is_a_pause(world: World) -> None:
    """Measured: a Suspend from outside is ignored by the running flow."""
    world.open()
    world.runs.put("r-1", RunState.PAUSED)
    world.wait(31)
    assert look(world) is ReconcileResult.PAUSED
    assert world.stored().status is Status.PAUSED


def test_a_cancelled_paused_run_is_settled_and_told(world: World) -> None:
    """Measured: cancelling a suspended run calls no hook."""
    hold = world.open()
    record_pause(world.context.ledger, hold, Step.VALIDATING, world.now)
    world.runs.put("r-1", RunState.CANCELLED)
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().status is Status.CANCELLED
    assert kinds(world) == ["CANCELLED"]


def test_a_run_that_opened_nothing_is_settled_from_its_request(world: World) -> None:
    request = {"archive": "archives/a.tar", "organizations": ["acme"], "owner": "olivia"}
    world.runs.put("r-9", RunState.FAILED, "bad parameters", request=request)
    assert look(world, "r-9") is ReconcileResult.SETTLED
    stored = world.stored("r-9")
    assert (stored.status, stored.owner) == (Status.FAILURE, "olivia")
    assert kinds(world, "r-9") == ["FAILED", "OPERATOR"]
    assert look(world, "r-9") is ReconcileResult.LEFT


def test_a_run_that_died_before_it_opened_its_relocation_goes_on_and_opens_it(world: World) -> None:
    world.runs.put("r-1", RunState.CRASHED, "killed", request=REQUEST.model_dump())
    assert look(world, set_state=False) is ReconcileResult.INTERRUPTED
    world.wait(16)
    assert look(world) is ReconcileResult.RESUMED
    assert world.runs.rescheduled == ["r-1"]
    assert kinds(world) == []
    world.open()
    stored = world.stored()
    assert (stored.status, stored.round, stored.fence) == (Status.IN_PROGRESS, 1, 1)
    assert [event.what for event in history_of(world.context.ledger, "r-1")] == [
        LifecycleEvent.INTERRUPTED,
        LifecycleEvent.RESUME_ASKED,
        LifecycleEvent.OPENED,
    ]


def test_a_run_that_dies_each_time_before_it_opens_its_relocation_fails_in_the_end(
    world: World,
) -> None:
    """Its code cannot be imported: no hook runs, and each process ends at once."""
    for _ in range(world.context.settings.max_resumes):
        world.runs.put("r-1", RunState.CRASHED, "no module", request=REQUEST.model_dump())
        world.wait(16)
        assert look(world) is ReconcileResult.RESUMED
        world.wait(1)
    world.runs.put("r-1", RunState.CRASHED, "no module", request=REQUEST.model_dump())
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().status is Status.FAILURE
    assert kinds(world) == ["FAILED", "OPERATOR"]


def test_a_run_that_died_early_fails_where_its_owner_has_another_relocation(world: World) -> None:
    """B-9."""
    world.open("r-2")
    world.runs.put("r-1", RunState.CRASHED, request=REQUEST.model_dump())
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored("r-1").status is Status.FAILURE
    assert world.stored("r-2").status is Status.IN_PROGRESS


def test_a_run_whose_machine_died_just_after_its_success_shows_it_in_the_end(world: World) -> None:
    hold = world.open()
    number = begin(world, hold, Task.COMPLETE)
    succeed(
        world.context.ledger, hold, number, COMPLETED, sender_domain="example.org", now=world.now
    )
    assert look(world) is ReconcileResult.LEFT
    assert state(world) is RunState.RUNNING  # it may be sending its notices
    world.wait(world.context.settings.start_limit)
    assert look(world) is ReconcileResult.LEFT
    assert state(world) is RunState.COMPLETED


def test_a_run_that_waits_for_its_time_is_no_relocation_yet(world: World) -> None:
    world.runs.put("r-9", RunState.SCHEDULED)
    assert look(world, "r-9") is ReconcileResult.LEFT
    assert find_relocation(world.context.ledger, "r-9") is None


def test_a_run_that_crashed_after_its_success_shows_the_success(world: World) -> None:
    hold = world.open()
    number = begin(world, hold, Task.COMPLETE)
    succeed(
        world.context.ledger, hold, number, COMPLETED, sender_domain="example.org", now=world.now
    )
    world.runs.put("r-1", RunState.CRASHED)
    assert look(world) is ReconcileResult.LEFT
    assert world.runs.runs["r-1"].state is RunState.COMPLETED
    assert world.stored().status is Status.SUCCESS


def test_waiting_ends_when_the_lease_does(world: World) -> None:
    world.open()
    assert wait_until_free(world.context, "r-1", sleep=world.wait)
    lease_until = world.stored().lease_until
    assert lease_until is not None
    assert world.now >= lease_until


def test_waiting_ends_early_where_the_process_is_alive(world: World) -> None:
    from relocation.ledger.holds import renew

    hold = world.open()
    opened = world.now

    def sleep(seconds: float) -> None:
        world.wait(seconds)
        renew(world.context.ledger, hold, 30, at(world.now))

    assert not wait_until_free(world.context, "r-1", sleep=sleep)
    assert world.now - opened < timedelta(seconds=5)


def test_a_second_failure_after_a_rerun_is_told_again_once(world: World) -> None:
    for _ in range(2):
        hold = world.open()
        world.runs.put("r-1", RunState.FAILED)
        look(world, error=PermanentError("No."), own=hold, set_state=False)
        look(world)
    assert kinds(world) == ["FAILED", "OPERATOR"] * 2
    assert world.stored().settled_round == 2


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.CANCELLED])
def test_what_has_ended_for_good_cannot_be_rerun(world: World, status: Status) -> None:
    hold = world.open()
    if status is Status.SUCCESS:
        number = begin(world, hold, Task.COMPLETE)
        succeed(
            world.context.ledger,
            hold,
            number,
            COMPLETED,
            sender_domain="example.org",
            now=world.now,
        )
    else:
        world.runs.put("r-1", RunState.CANCELLED)
        look(world, own=hold)
    with pytest.raises(PermanentError) as refused:
        open_relocation(world.context.ledger, "r-1", world.stored().request, at(world.now))
    world.runs.put("r-1", RunState.FAILED)
    assert look(world, error=refused.value, set_state=False) is ReconcileResult.LEFT
    assert world.stored().status is status
    assert "FAILED" not in kinds(world)


def test_the_operator_is_told_once_of_a_relocation_that_does_not_go_on(world: World) -> None:
    """No worker takes it up: the run stays scheduled."""
    world.open()
    world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    look(world)
    assert not alert_if_stuck(world.context, world.stored())
    world.wait(3601)
    assert look(world) is ReconcileResult.LEFT
    assert alert_if_stuck(world.context, world.stored())
    assert not alert_if_stuck(world.context, world.stored())
    (notice,) = notices_of(world.context.ledger, "r-1")
    assert (notice.kind, notice.recipient) == (
        NoticeKind.OPERATOR,
        world.context.settings.operator_email,
    )


def test_nobody_is_told_of_a_relocation_that_is_paused(world: World) -> None:
    record_pause(world.context.ledger, world.open(), Step.IMPORTING, world.now)
    world.wait(10**6)
    assert not alert_if_stuck(world.context, world.stored())


def test_the_operator_is_told_once_of_an_end_that_cannot_be_recorded(world: World) -> None:
    world.open()
    for _ in range(2):
        alert_unsettled(world.context, world.stored(), OSError("the destination is away"))
    (notice,) = notices_of(world.context.ledger, "r-1")
    assert "the destination is away" in notice.context["why"]


def test_a_ledger_that_was_away_fails_nothing_while_tries_are_left(world: World) -> None:
    """The flow failed because of that, and its hook could not reach the ledger either."""
    hold = world.open()
    begin(world, hold)
    world.runs.put("r-1", RunState.FAILED, "the ledger is away", raised=True)
    world.wait(31)
    assert look(world) is ReconcileResult.RESUMED
    assert kinds(world) == []


def test_a_run_that_was_set_to_failed_by_hand_is_settled_although_tries_are_left(
    world: World,
) -> None:
    begin(world, world.open())
    world.runs.put("r-1", RunState.FAILED, "enough")
    world.wait(31)
    assert look(world) is ReconcileResult.SETTLED
    assert world.stored().status is Status.FAILURE


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.CRASHED, RunState.FAILED])
def test_a_busy_owner_is_told_although_the_process_died_just_then(
    world: World, state: RunState
) -> None:
    world.open("r-2")
    with pytest.raises(OwnerBusyError) as busy:
        world.open("r-1")
    world.runs.put("r-1", state, "killed", raised=state is RunState.FAILED)
    assert look(world) is ReconcileResult.SETTLED
    stored = world.stored()
    assert (stored.status, stored.round, stored.settled_round) == (Status.FAILURE, 1, 1)
    assert stored.reason == busy.value.reason
    (notice,) = notices_of(world.context.ledger, "r-1")
    assert (notice.kind, notice.context["next_step"]) == ("FAILED", OwnerBusyError.next_step)
    assert world.stored("r-2").status is Status.IN_PROGRESS


def test_a_rerun_before_anybody_was_told_goes_on_in_its_round(world: World) -> None:
    """Else the round would have an end that nobody is told."""
    second = world.open("r-2")
    with pytest.raises(OwnerBusyError):
        world.open("r-1")
    world.runs.put("r-2", RunState.CANCELLED)
    look(world, "r-2", own=second)
    assert world.open("r-1").round == 1
    assert world.stored().reason is None


def test_each_resumption_waits_longer_than_the_one_before(world: World) -> None:
    """A deployment that is broken for some minutes fails nobody."""
    for _ in range(8):
        world.runs.put("r-1", RunState.CRASHED, "no module", request=REQUEST.model_dump())
        world.wait(16)
        assert look(world) is ReconcileResult.RESUMED
    minutes = [delay.total_seconds() / 60 for delay in world.runs.delays]
    assert minutes == [0, 1, 2, 4, 8, 16, 32, 60]
    begin(world, world.open())
    world.runs.put("r-1", RunState.CRASHED)
    world.wait(31)
    look(world)
    assert world.runs.delays[-1] == timedelta(minutes=60)  # no task got done meanwhile

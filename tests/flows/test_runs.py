"""What a flow run is and does, at a Prefect server and in memory alike: one contract."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from memory_runs import MemoryRuns
from prefect import get_client
from prefect.client.schemas.objects import State, StateType

from flows.relocate import relocate
from relocation.prefect_api.flow_runs import FlowRuns
from relocation.recovery.runs import Run, Runs, RunState

REQUEST = {"archive": "a", "organizations": ["acme"], "owner": "olivia"}
LONG = timedelta(days=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Stage:
    """Runs under test, and the hand of a person or of Prefect that gives them states."""

    runs: Runs
    new: Callable[..., str]
    put: Callable[[str, RunState], object]

    def read(self, relocation_id: str) -> Run:
        return self.runs.read([relocation_id])[relocation_id]


@pytest.fixture
def in_memory() -> Stage:
    """Runs in memory."""
    memory, stage = MemoryRuns(lambda: datetime.now(UTC)), Stage()

    def new(state: RunState = RunState.RUNNING, *, deployed: bool = True) -> str:
        return memory.put(str(uuid4()), state, request=REQUEST, deployed=deployed).id

    stage.runs, stage.new, stage.put = memory, new, memory.put
    return stage


@pytest.fixture
def at_a_server(prefect_server: None) -> Iterator[Stage]:
    """Runs at a Prefect server."""
    stage = Stage()
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(relocate), "relocate")

        def put(relocation_id: str, state: RunState) -> None:
            given: State[Any] = State(type=StateType(state.value))
            client.set_flow_run_state(UUID(relocation_id), given, force=True)

        def new(state: RunState = RunState.RUNNING, *, deployed: bool = True) -> str:
            parameters = {"request": REQUEST}
            if deployed:
                run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
            else:
                run = client.create_flow_run(relocate, parameters=parameters)
            put(str(run.id), RunState.RUNNING)
            if state is not RunState.RUNNING:
                put(str(run.id), state)
            return str(run.id)

        stage.runs, stage.new, stage.put = FlowRuns(), new, put
        yield stage
        client.delete_deployment(deployment)


@pytest.fixture(params=["in_memory", "at_a_server"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Runs, in memory and at a server."""
    given: Stage = request.getfixturevalue(request.param)
    return given


def test_a_run_is_read_with_what_it_was_asked(stage: Stage) -> None:
    deployed, local = stage.new(), stage.new(deployed=False)
    found = stage.runs.read([deployed, local, str(uuid4())])
    assert found.keys() == {deployed, local}
    assert (found[deployed].deployed, found[local].deployed) == (True, False)
    assert found[deployed].request == REQUEST
    assert not found[deployed].raised
    assert stage.runs.read([]) == {}


@pytest.mark.parametrize("state", list(RunState))
def test_those_at_work_or_ended_without_success_are_found(stage: Stage, state: RunState) -> None:
    relocation_id = stage.new(state)
    left = {RunState.SCHEDULED, RunState.PAUSED, RunState.COMPLETED}
    assert stage.read(relocation_id).state is state
    found = {run.id for run in stage.runs.unsuccessful(LONG_AGO)}
    assert (relocation_id in found) is (state not in left)
    tomorrow = datetime.now(UTC) + LONG
    assert relocation_id not in {run.id for run in stage.runs.unsuccessful(tomorrow)}


def test_a_run_is_suspended_under_its_key_and_resumed(stage: Stage) -> None:
    relocation_id = stage.new()
    suspended = stage.runs.suspend(stage.read(relocation_id), "fence-1", LONG)
    assert (suspended.state, suspended.suspension) == (RunState.PAUSED, "fence-1")
    assert stage.read(relocation_id) == suspended
    assert not stage.runs.was_resumed(relocation_id, "fence-1", None)
    stage.runs.reschedule(relocation_id)
    assert stage.read(relocation_id).state is RunState.SCHEDULED
    assert stage.runs.was_resumed(relocation_id, "fence-1", None)
    assert stage.runs.was_resumed(relocation_id, "", suspended.since)
    assert not stage.runs.was_resumed(relocation_id, "fence-2", None)


def test_a_key_suspends_a_run_once_and_another_key_once_more(stage: Stage) -> None:
    relocation_id = stage.new()
    stage.runs.suspend(stage.read(relocation_id), "fence-1", LONG)
    stage.runs.reschedule(relocation_id)
    stage.put(relocation_id, RunState.RUNNING)
    late = stage.runs.suspend(stage.read(relocation_id), "fence-1", LONG)
    assert late.state is RunState.RUNNING
    assert stage.runs.suspend(late, "fence-2", LONG).state is RunState.PAUSED


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.CANCELLING, RunState.PENDING])
def test_a_run_that_goes_on_or_is_cancelled_is_not_suspended(stage: Stage, state: RunState) -> None:
    relocation_id = stage.new()
    seen = stage.read(relocation_id)
    stage.put(relocation_id, state)
    assert stage.runs.suspend(seen, "fence-1", LONG).state is state


@pytest.mark.parametrize("state", [RunState.CRASHED, RunState.FAILED])
def test_a_run_that_ended_is_suspended(stage: Stage, state: RunState) -> None:
    relocation_id = stage.new(state)
    assert stage.runs.suspend(stage.read(relocation_id), "fence-1", LONG).state is RunState.PAUSED


def test_a_run_that_crashed_over_its_suspension_was_not_resumed(stage: Stage) -> None:
    relocation_id = stage.new()
    suspended = stage.runs.suspend(stage.read(relocation_id), "fence-1", LONG)
    stage.put(relocation_id, RunState.CRASHED)
    assert not stage.runs.was_resumed(relocation_id, "fence-1", suspended.since)
    stage.put(relocation_id, RunState.SCHEDULED)
    stage.put(relocation_id, RunState.RUNNING)
    stage.put(relocation_id, RunState.CRASHED)
    assert stage.runs.was_resumed(relocation_id, "fence-1", suspended.since)


def test_each_state_begins_later_than_the_one_before(stage: Stage) -> None:
    relocation_id = stage.new()
    first = stage.read(relocation_id).since
    stage.put(relocation_id, RunState.CRASHED)
    assert stage.read(relocation_id).since > first


def test_a_run_is_given_its_end(stage: Stage) -> None:
    relocation_id = stage.new()
    stage.runs.conclude(relocation_id, RunState.FAILED, "It is over.")
    ended = stage.read(relocation_id)
    assert (ended.state, ended.message, ended.raised) == (RunState.FAILED, "It is over.", False)


def test_only_a_run_whose_flow_raised_has_failed_by_itself(prefect_server: None) -> None:
    """It is Prefect's message that says so; a person's says something else, or nothing."""
    from prefect import flow

    from relocation.errors import StoppedError

    def ended(error: Exception) -> Run:
        @flow
        def fails() -> None:
            raise error

        state = fails(return_state=True)
        relocation_id = str(state.state_details.flow_run_id)
        return FlowRuns().read([relocation_id])[relocation_id]

    assert ended(OSError("cut")).raised
    assert not ended(StoppedError("An operator stopped the relocation.")).raised

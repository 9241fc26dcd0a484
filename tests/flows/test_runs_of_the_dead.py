"""What Prefect shows of the runs of a process that is gone."""

from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from prefect import flow, get_client, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Completed, Running

from relocation.prefect_api.flow_runs import FlowRuns
from relocation.recovery.runs import RunState


@flow
def parent() -> None: ...


@flow
def child() -> None: ...


@task
def holds_a_child() -> None: ...


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def dead(client: SyncPrefectClient) -> FlowRun:
    """A run that says it is running, of which no process is left."""
    return client.create_flow_run(parent, state=Running())


def child_of(client: SyncPrefectClient, dead: FlowRun) -> FlowRun:
    held = client.create_task_run(holds_a_child, dead.id, "0", state=Running())
    return client.create_flow_run(child, parent_task_run_id=held.id, state=Running())


def state_of(client: SyncPrefectClient, flow_run_id: UUID) -> StateType | None:
    return client.read_flow_run(flow_run_id).state_type


def test_a_resumed_run_leaves_no_subflow_at_work(client: SyncPrefectClient, dead: FlowRun) -> None:
    left, other = child_of(client, dead), client.create_flow_run(child, state=Running())
    FlowRuns().reschedule(str(dead.id))
    assert state_of(client, dead.id) is StateType.SCHEDULED
    assert state_of(client, left.id) is StateType.CANCELLED
    assert state_of(client, other.id) is StateType.RUNNING


def test_a_concluded_run_leaves_no_subflow_at_work(
    client: SyncPrefectClient, dead: FlowRun
) -> None:
    left, done = child_of(client, dead), child_of(client, dead)
    client.set_flow_run_state(done.id, Completed(), force=True)
    FlowRuns().conclude(str(dead.id), RunState.FAILED, "Its process is gone.")
    assert state_of(client, dead.id) is StateType.FAILED
    assert state_of(client, left.id) is StateType.CANCELLED
    assert state_of(client, done.id) is StateType.COMPLETED


def test_a_run_that_is_being_cancelled_keeps_its_subflows(
    client: SyncPrefectClient, dead: FlowRun
) -> None:
    at_work = child_of(client, dead)
    FlowRuns().conclude(str(dead.id), RunState.CANCELLING, "A person cancelled it.")
    assert state_of(client, at_work.id) is StateType.RUNNING


def test_a_subflow_that_cannot_be_ended_keeps_no_run_from_going_on(
    client: SyncPrefectClient, dead: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_of(client, dead)

    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("away")

    monkeypatch.setattr(SyncPrefectClient, "read_flow_runs", refuse)
    FlowRuns().reschedule(str(dead.id))
    assert state_of(client, dead.id) is StateType.SCHEDULED

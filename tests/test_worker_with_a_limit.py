"""What docs/scaling.md says of Prefect's own worker, tried on the installed one."""

import asyncio
from collections.abc import Iterator
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import (
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)
from prefect.workers.process import ProcessWorker


async def _given(worker: ProcessWorker, held: UUID, given: UUID) -> list[UUID]:
    """Give a run to a worker that still has a place taken for one; return what it submits."""
    worker._limiter = anyio.CapacityLimiter(2)
    worker._limiter.acquire_on_behalf_of_nowait(held)
    flow_run = FlowRun(id=given, flow_id=uuid4(), name="acme")
    response = WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=flow_run)
    async with anyio.create_task_group() as runs:
        worker._runs_task_group = runs
        submitted = await worker._submit_scheduled_flow_runs([response])
    return [one.id for one in submitted]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessWorker]:
    """A worker that does two runs at a time, starts no process and knows no server."""

    async def submit(_worker: ProcessWorker, _flow_run: FlowRun) -> None:
        """Start no process."""

    monkeypatch.setattr(ProcessWorker, "_submit_run", submit)
    no_server = {
        PREFECT_LOGGING_TO_API_ENABLED: False,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
    }
    with temporary_settings(no_server):
        yield ProcessWorker(work_pool_name="relocation", limit=2)


def test_it_leaves_alone_a_run_that_comes_back_before_it_is_done_with_it(
    worker: ProcessWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a run ended the worker before Prefect 3.9.1."""
    run = uuid4()
    assert asyncio.run(_given(worker, held=run, given=run)) == []
    assert "Duplicate submission" in caplog.text


def test_it_takes_another_run(worker: ProcessWorker) -> None:
    other = uuid4()
    assert asyncio.run(_given(worker, held=uuid4(), given=other)) == [other]

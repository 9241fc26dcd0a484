"""What we use of Prefect's engine without its promise still does what we need of it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from embedded_service import Service
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect_blocks import load_block

from relocation.prefect_api.flow_runs import to_run

_seen: list[str] = []


def hook(flow: object, flow_run: FlowRun, state: object) -> None:
    """Remember for which run it was called."""
    _seen.append(str(flow_run.id))


@flow(on_failure=[hook], on_crashed=[hook], on_completion=[hook], persist_result=False)
def ending(how: str) -> None:
    """End by an error, or by the signal that a relocation stops with."""
    raise Abort if how == "abort" else ValueError(how)


def _run() -> Any:
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["ending"])))
        return client.read_flow_run(UUID(str(run.id)))


@pytest.fixture
def alone(service: Service) -> None:
    """No run of another test's flow is at the server."""
    _seen.clear()


def test_a_flow_that_aborts_leaves_its_run_to_others_and_calls_no_hook(alone: None) -> None:
    with pytest.raises(Abort):
        ending("abort")
    assert _run().state.is_running()
    assert _seen == []


def test_a_flow_that_raised_is_known_by_the_words_of_its_state(alone: None) -> None:
    state = ending("x", return_state=True)
    assert len(_seen) == 1
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
    assert to_run(run).raised


def test_a_block_is_loaded_at_once_inside_an_event_loop_too(private_key: str) -> None:
    """Else what runs there would be given a coroutine, and go on without a key."""

    async def load() -> Secret[Any]:
        return load_block(Secret, "test-key")

    assert asyncio.run(load()).get() == private_key

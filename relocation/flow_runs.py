"""The flow runs of relocations at the Prefect server: start them, look at them, set their state."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelling, Scheduled

from relocation.errors import ConfigurationError
from relocation.recovery.runs import Run, RunState
from relocation.request import RelocationRequest

RELOCATE = "relocate/relocate"
_PAGE = 200


class FlowRuns:
    """The Prefect server's flow runs of the relocate flow (satisfies `Runs`)."""

    def read(self, relocation_ids: Collection[str]) -> dict[str, Run]:
        """Return the runs that the server has, by relocation."""
        ids = [UUID(one) for one in relocation_ids if _is_uuid(one)]
        found: dict[str, Run] = {}
        with get_client(sync_client=True) as client:
            for start in range(0, len(ids), _PAGE):
                which = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _PAGE]))
                runs = client.read_flow_runs(flow_run_filter=which, limit=_PAGE)
                found |= {str(run.id): to_run(run) for run in runs}
        return found

    def unsuccessful(self, since: datetime) -> list[Run]:
        """Return the runs since then that are at work or ended without success, newest first."""
        at_work = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
        ends = [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
        which = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=at_work + ends)),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=since),
        )
        found: list[Run] = []
        with get_client(sync_client=True) as client:
            while True:
                page = client.read_flow_runs(
                    flow_filter=FlowFilter(name=FlowFilterName(any_=[RELOCATE.partition("/")[0]])),
                    flow_run_filter=which,
                    sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                    limit=_PAGE,
                    offset=len(found),
                )
                found += [to_run(run) for run in page]
                if len(page) < _PAGE:
                    return found

    def reschedule(self, relocation_id: str) -> None:
        """Let the run begin again, as Retry in the Prefect UI does."""
        _set(relocation_id, AwaitingRetry(message="Resumed after an interruption"))

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        """Set the state of a run whose process is gone."""
        _set(relocation_id, State(type=StateType(state.value), message=message))


def to_run(flow_run: FlowRun) -> Run:
    """Return a flow run as the plain part sees it."""
    state = flow_run.state
    request = flow_run.parameters.get("request")
    return Run(
        id=str(flow_run.id),
        state=RunState(state.type.value) if state else RunState.PENDING,
        since=state.timestamp if state else datetime.now(UTC),
        message=(state.message or "") if state else "",
        deployed=flow_run.deployment_id is not None,
        request=request if isinstance(request, dict) else {},
    )


def submit(request: RelocationRequest, *, at: datetime | None = None) -> str:
    """Start a relocation through its deployment, now or at a time; returns its id."""
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(RELOCATE)
        except ObjectNotFound as err:
            raise ConfigurationError(
                "The relocation service is not completely set up.",
                internal=f'the deployment "{RELOCATE}" does not exist; run `relocation setup`',
            ) from err
        run = client.create_flow_run_from_deployment(
            deployment.id,
            parameters={"request": request.model_dump()},
            state=Scheduled(scheduled_time=at) if at else None,
        )
    return str(run.id)


def rerun(relocation_id: str) -> None:
    """Do what Retry in the Prefect UI does: schedule the same flow run again."""
    _set(relocation_id, AwaitingRetry(message="Rerun from the command line"))


def cancel(relocation_id: str) -> None:
    """Do what Cancel in the Prefect UI does: the worker ends the run's process, if it has one."""
    _set(relocation_id, Cancelling(message="Cancelled from the command line"))


def resume(relocation_id: str) -> None:
    """Let a run that is paused or suspended go on."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(relocation_id)).state
        if state is not None and state.is_paused():
            client.resume_flow_run(UUID(relocation_id))
            return
        _propose(client, relocation_id, AwaitingRetry(message="Unpaused from the command line"))


def is_finished(relocation_id: str) -> bool:
    """Say whether the flow run has reached an end state."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(relocation_id)).state
    return state is not None and state.is_final()


def _set(relocation_id: str, state: "State[Any]") -> None:
    with get_client(sync_client=True) as client:
        _propose(client, relocation_id, state)


def _propose(client: SyncPrefectClient, relocation_id: str, state: "State[Any]") -> None:
    client.set_flow_run_state(UUID(relocation_id), state, force=True)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

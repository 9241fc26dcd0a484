"""The flow runs of relocations at the Prefect server: start them, look at them, set their state."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import AwaitingRetry, Cancelled, Scheduled, Suspended
from prefect.utilities.urls import url_for

from relocation.errors import ConfigurationError, StoppedError
from relocation.model import Relocation
from relocation.recovery.runs import ENDS, Run, RunState
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import LifecycleEvent
from relocation.text import listed, one_line

RELOCATE = "relocate"
"""The flow, and its deployment before an installation's own name."""
_PAGE = 200
_SHOWN_SLUGS = 20
_RAISED = "Flow run encountered an exception: "
"""How the message of a run begins that Prefect's engine failed, for an error that it raised."""
_SET_BY_HAND = _RAISED + StoppedError.__name__
"""The flow noticed that a person had given the run an end, and obeyed."""

_EVENT_NAMES = {
    LifecycleEvent.OPENED: "relocation.started",
    LifecycleEvent.TAKEN_OVER: "relocation.resumed",
    LifecycleEvent.INTERRUPTED: "relocation.interrupted",
    LifecycleEvent.FAILED: "relocation.failed",
    LifecycleEvent.CANCELLED: "relocation.cancelled",
    LifecycleEvent.SUCCEEDED: "relocation.succeeded",
}
"""What of a relocation's life is an event of the Prefect server (docs/events.md)."""

_log = logging.getLogger(__name__)


_OF_THE_FLOW = FlowFilter(name=FlowFilterName(any_=[RELOCATE]))


def runs_of(deployment: str) -> dict[str, Any]:
    """Return the filters of the runs of a `relocate` deployment."""
    return {
        "flow_filter": _OF_THE_FLOW,
        "deployment_filter": DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
    }


class FlowRuns:
    """The Prefect server's flow runs of the relocate flow (satisfies `Runs`).

    Those that nobody asks for by id are of one installation's deployment; an installation without
    a name sees those without a deployment too.
    """

    def __init__(self, deployment: str = RELOCATE) -> None:
        self._deployment = deployment

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
        found = self._all(which, **runs_of(self._deployment))
        if self._deployment == RELOCATE:
            which.deployment_id = FlowRunFilterDeploymentId(is_null_=True)
            found += self._all(which, flow_filter=_OF_THE_FLOW)
        return sorted(found, key=lambda run: run.since, reverse=True)

    def _all(self, which: FlowRunFilter, **of: Any) -> list[Run]:
        found: list[Run] = []
        with get_client(sync_client=True) as client:
            while True:
                page = client.read_flow_runs(
                    **of,
                    flow_run_filter=which,
                    sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                    limit=_PAGE,
                    offset=len(found),
                )
                found += [to_run(run) for run in page]
                if len(page) < _PAGE:
                    return found

    def was_resumed(self, relocation_id: str, suspension: str, since: datetime | None) -> bool:
        """Say whether the run was scheduled again after it was suspended.

        The suspension is the one that began at `since`, else the one with this key.
        """
        with get_client(sync_client=True) as client:
            states = client.read_flow_run_states(UUID(relocation_id))
        keyed = [one for one in states if one.state_details.pause_key == suspension]
        begun = since or min((one.timestamp for one in keyed), default=None)
        return begun is not None and any(
            one.type is StateType.SCHEDULED and one.timestamp > begun for one in states
        )

    def reschedule(self, relocation_id: str, delay: timedelta = timedelta()) -> None:
        """Let a run whose process is gone begin again, as Retry in the Prefect UI does."""
        state: State[Any] = AwaitingRetry(
            scheduled_time=datetime.now(UTC) + delay, message="Resumed after an interruption"
        )
        with get_client(sync_client=True) as client:
            _end_children(client, relocation_id)
            _propose(client, relocation_id, state)

    def suspend(self, run: Run, suspension: str, limit: timedelta) -> Run:
        """Suspend a run under a key that was never used for it, and return it as it then is.

        It can be resumed within the limit. A run that goes on or is cancelled by now is left.
        """
        state: State[Any] = Suspended(
            timeout_seconds=int(limit.total_seconds()), pause_key=suspension
        )
        with get_client(sync_client=True) as client:
            # Prefect suspends only what runs, and refuses what is not as it was: so it must, unless
            # the run has ended.
            ended = run.state in ENDS
            client.set_flow_run_state(UUID(run.id), state, force=ended)
            return to_run(client.read_flow_run(UUID(run.id)))

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        """Set the state of a run; of one whose process is gone unless the state is CANCELLING."""
        with get_client(sync_client=True) as client:
            if state is not RunState.CANCELLING:
                _end_children(client, relocation_id)
            _propose(client, relocation_id, State(type=StateType(state.value), message=message))

    def announce(self, relocation: Relocation, event: LifecycleEvent) -> None:
        """Emit the event where it has a name, with the id, the round and the slugs alone."""
        name = _event_name(relocation, event)
        if name is None:
            return
        slugs = _bounded(relocation.organizations)
        # It logs what it cannot send, and raises for nothing but an event of several megabytes.
        emit_event(
            name,
            resource={
                "prefect.resource.id": f"relocation.{relocation.id}",
                "prefect.resource.name": listed(slugs),
            },
            # Outside a run, Prefect would relate the one that this process ran last.
            related=[
                {
                    "prefect.resource.id": f"prefect.flow-run.{relocation.id}",
                    "prefect.resource.role": "flow-run",
                }
            ],
            payload={
                "relocation_id": relocation.id,
                "round": relocation.round,
                "organizations": slugs,
            },
        )


def _event_name(relocation: Relocation, event: LifecycleEvent) -> str | None:
    if event is LifecycleEvent.OPENED and relocation.fence > 1:
        event = LifecycleEvent.TAKEN_OVER  # a further round: whoever watches sees it go on
    return _EVENT_NAMES.get(event)


def label_run(
    relocation_id: str, organizations: Sequence[str], name: str, tags: Iterable[str]
) -> None:
    """Give a run the name and, besides its `tags`, those by which it can be searched.

    These are its id and the slugs, nothing of people. One whose `name` has its id is left as it is.
    Where the server does not take them, the relocation goes on without.
    """
    if name.endswith(relocation_id):
        return
    slugs = _bounded(organizations)
    others = {tag for tag in tags if not tag.startswith("organization:")}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(
                UUID(relocation_id),
                name=f"{listed(slugs, show=3)} {relocation_id}",
                tags=sorted(others | {f"organization:{slug}" for slug in slugs}),
            )
    except httpx.HTTPError:
        _log.warning("Relocation %s could not be named", relocation_id, exc_info=True)


def runs_url() -> str:
    """Return what a flow run's id is added to for its page in the Prefect UI; empty if unknown."""
    marker = str(UUID(int=0))
    page = url_for("flow-run", marker)
    return page.removesuffix(marker) if page else ""


def to_run(flow_run: FlowRun) -> Run:
    """Return a flow run as the plain part sees it."""
    state = flow_run.state
    message = (state.message or "") if state else ""
    request = flow_run.parameters.get("request")
    return Run(
        id=str(flow_run.id),
        state=RunState(state.type.value) if state else RunState.PENDING,
        since=state.timestamp if state else datetime.now(UTC),
        message=message,
        deployed=flow_run.deployment_id is not None,
        request=request if isinstance(request, dict) else {},
        raised=message.startswith(_RAISED) and not message.startswith(_SET_BY_HAND),
        suspension=(state.state_details.pause_key or "") if state else "",
    )


def submit(
    request: RelocationRequest, *, deployment: str = RELOCATE, at: datetime | None = None
) -> str:
    """Start a relocation through its deployment, now or at a time; returns its id."""
    name = f"{RELOCATE}/{deployment}"
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(name)
        except ObjectNotFound as err:
            raise ConfigurationError(
                "The relocation service is not fully set up.",
                internal=f'the deployment "{name}" does not exist; run `relocation setup`',
            ) from err
        run = client.create_flow_run_from_deployment(
            found.id,
            parameters={"request": request.model_dump()},
            state=Scheduled(scheduled_time=at) if at else None,
        )
    label_run(str(run.id), request.organizations, run.name, run.tags)
    return str(run.id)


def is_of_another_deployment(relocation_id: str, settings: Settings) -> bool:
    """Say whether a run was begun through a deployment that is none of this installation's."""
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(relocation_id))
            deployment = client.read_deployment(run.deployment_id) if run.deployment_id else None
        except ObjectNotFound:
            return False
    return deployment is not None and deployment.name != settings.named(RELOCATE)


def rerun(relocation_id: str) -> None:
    """Do what Retry in the Prefect UI does: schedule the same flow run again."""
    _set(relocation_id, AwaitingRetry(message="Rerun from the command line"))


def is_finished(relocation_id: str) -> bool:
    """Say whether the flow run has reached an end state."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(relocation_id)).state
    return state is not None and state.is_final()


def _set(relocation_id: str, state: "State[Any]") -> None:
    with get_client(sync_client=True) as client:
        _propose(client, relocation_id, state)


def _propose(client: SyncPrefectClient, flow_run_id: str, state: "State[Any]") -> None:
    client.set_flow_run_state(UUID(flow_run_id), state, force=True)


def _end_children(client: SyncPrefectClient, relocation_id: str) -> None:
    """Show the subflows of a dead process as ended; Prefect has them at work for ever.

    Not as crashed, which would alert the operator of `notify`. What fails is only logged.
    """
    at_work = [StateType.PENDING, StateType.RUNNING]
    which = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(relocation_id)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=at_work)),
    )
    try:
        for child in client.read_flow_runs(flow_run_filter=which):
            gone: State[Any] = Cancelled(message="The process of its flow run is gone.")
            _propose(client, str(child.id), gone)
    except (httpx.HTTPError, PrefectException):
        _log.warning("Subflows of %s are still shown at work", relocation_id, exc_info=True)


def _bounded(slugs: Sequence[str]) -> list[str]:
    """Return as much of the slugs as is shown; a request that is not valid may hold anything."""
    return [one_line(slug, limit=60) for slug in slugs[:_SHOWN_SLUGS]]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

"""Hold the relocation for as long as its flow works on it, and leave in the right way."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import Abort, PrefectException
from prefect.tasks import Task as PrefectTask
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from relocation.database import database_time
from relocation.errors import FencedOut, PermanentError, StoppedError
from relocation.ledger.holds import Hold, OpenedRelocation, hold_of, open_relocation, release
from relocation.ledger.leases import LeaseKeeper
from relocation.ledger.relocations import get_relocation
from relocation.ledger.transitions import confirm_suspension, record_pause
from relocation.prefect_api.artifacts import show_next_steps
from relocation.prefect_api.context import recovery_context
from relocation.prefect_api.flow_runs import FlowRuns, label_run
from relocation.process import worker_name
from relocation.recovery.context import RecoveryContext
from relocation.recovery.decision import suspension_key
from relocation.recovery.runs import Run, RunState
from relocation.recovery.settlement import end_relocation, is_revealed
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Step, Task
from tasks.artifacts import show_request
from tasks.resources import Resources, forget_hold, keep_hold

STOPPED = "An operator stopped the relocation."


class CancelRequested(BaseException):
    """The relocation is to end before its next step."""

    def __init__(self, run: Run | None = None) -> None:
        super().__init__()
        self.run = run


class PauseRequested(BaseException):
    """The relocation is to wait before its next step."""

    def __init__(self, step: Step, run: Run | None = None) -> None:
        super().__init__(step)
        self.step = step
        self.run = run
        """The run, where somebody else suspended it."""


class TakenOver(BaseException):
    """The flow run belongs to another process: this one stops, and reports nothing."""


@contextmanager
def hold_relocation(
    request: RelocationRequest, send_notices: Callable[[str], object]
) -> Iterator[Hold]:
    """Open the relocation under this flow run's id, and hold it while the block lasts.

    A thread renews the lease. A pause, a cancellation and the loss of the hold end the flow run
    in the way that Prefect means them; `send_notices` then sends the notices of a cancellation.
    """
    settings = Settings()
    resources = Resources(settings)
    opened = begin_relocation(request, resources)
    hold, ledger = hold_of(opened), resources.ledger
    deployed = runtime.deployment.id is not None
    keeper = LeaseKeeper(
        ledger,
        hold,
        every=settings.lease_renewal,
        lease_seconds=settings.lease_seconds,
        # The main thread may hang; a run that nobody can schedule again has no successor to wait.
        lost=partial(os._exit, 0) if deployed else lambda: None,
    )
    try:
        with keeper:
            describe_run(opened)
            yield hold
    except (FencedOut, TakenOver) as err:
        get_run_logger().warning("Relocation %s goes on elsewhere", hold.relocation_id)
        raise _abort(hold, "Another process has taken this relocation over.") from err
    except PauseRequested as pause:
        _pause(recovery_context(settings, ledger), hold, pause, deployed=deployed)
        raise _abort(hold, "The relocation is paused.") from pause
    except CancelRequested as cancel:
        context = recovery_context(settings, ledger)
        relocation = get_relocation(ledger, hold.relocation_id)
        end_relocation(
            context, hold.relocation_id, relocation, cancel.run, cancelled=True, own=hold
        )
        send_notices(hold.relocation_id)
        show_next_steps(ledger, hold.relocation_id)
        context.runs.conclude(hold.relocation_id, RunState.CANCELLED, "Cancelled as scheduled")
        raise _abort(hold, "The relocation is cancelled.") from cancel
    except Exception:
        raise  # the hook settles it, in this process and under this hold
    except BaseException:
        # The process is being ended. Whoever goes on, or cancels, need not wait for the lease.
        with suppress(SQLAlchemyError):
            release(ledger, hold)
        raise


def _abort(hold: Hold, why: str) -> Abort:
    """Return what ends the flow run without a hook, which would need what is kept."""
    forget_hold(hold.relocation_id)
    return Abort(why)


def _pause(context: RecoveryContext, hold: Hold, pause: PauseRequested, *, deployed: bool) -> None:
    """Record the pause, then suspend the run; a sweep does what fails here."""
    since = pause.run.since if pause.run else None
    record_pause(context.ledger, hold, pause.step, context.clock(), suspended_since=since)
    log = get_run_logger()
    log.info("Relocation %s pauses before %s", hold.relocation_id, pause.step.name)
    show_next_steps(context.ledger, hold.relocation_id)
    if since is not None or not deployed:
        return
    try:
        run = context.runs.read([hold.relocation_id])[hold.relocation_id]
        limit = timedelta(seconds=context.settings.pause_limit)
        run = context.runs.suspend(run, suspension_key(hold.fence), limit)
        if run.state is RunState.PAUSED:
            confirm_suspension(context.ledger, hold.relocation_id, hold.fence, run.since)
    except (httpx.HTTPError, PrefectException, SQLAlchemyError):
        log.exception("Relocation %s waits, and a sweep suspends its run", hold.relocation_id)


def is_retryable(_task: "PrefectTask[..., Any]", _run: TaskRun, state: "State[Any]") -> bool:
    """Say whether a failure may be tried again: anything but a PermanentError or a lost hold."""
    failure = state.result(raise_on_failure=False)
    return not isinstance(failure, (PermanentError, FencedOut))


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=[1, 5, 15],
    retry_condition_fn=is_retryable,
)
def begin_relocation(request: RelocationRequest, resources: Resources) -> OpenedRelocation:
    """Open the relocation in the ledger under this flow run's id, and hold it.

    A relocation that was interrupted goes on in its round; one that had failed begins a new round.
    """
    settings = resources.settings
    relocation = open_relocation(
        resources.ledger,
        str(runtime.flow_run.id),
        request,
        database_time,
        lease_seconds=settings.lease_seconds,
        worker=worker_name(),
        pause_before=settings.pause_before,
    )
    get_run_logger().info(
        "Relocation %s, round %d, from %s",
        relocation.id,
        relocation.round,
        relocation.source or relocation.archive,
    )
    keep_hold(hold_of(relocation), resources)
    return relocation  # its lease has begun: whatever asks the Prefect server waits for the keeper


def describe_run(relocation: OpenedRelocation) -> None:
    """Show at the Prefect server which relocation this flow run is."""
    flow_run = runtime.flow_run
    label_run(relocation.id, relocation.organizations, str(flow_run.name), flow_run.tags)
    FlowRuns().announce(relocation, relocation.event)
    show_request(relocation)


def stop_if_requested(ledger: Engine, hold: Hold, task: Task, step: Step) -> None:
    """Stop before a task where somebody asked for it, in the ledger or at the Prefect server.

    Raises PauseRequested, CancelRequested, TakenOver, and PermanentError where the run was given an
    end state by hand.
    """
    run = FlowRuns().read([hold.relocation_id]).get(hold.relocation_id)
    relocation = get_relocation(ledger, hold.relocation_id)
    state = run.state if run else RunState.RUNNING
    revealed = is_revealed(ledger, hold.relocation_id)
    cancelled = state in {RunState.CANCELLING, RunState.CANCELLED}
    if cancelled and not revealed:
        raise CancelRequested(run)
    if state in {RunState.SCHEDULED, RunState.PENDING} or relocation.fence != hold.fence:
        raise TakenOver
    if state in {RunState.FAILED, RunState.CRASHED, RunState.COMPLETED}:
        raise StoppedError(STOPPED, internal=f"the run's state was set to {state} during {task}")
    if relocation.cancel_before_step is not None and step >= relocation.cancel_before_step:
        cancelled = True
        if not revealed:
            raise CancelRequested(run)
    if cancelled:
        get_run_logger().warning(
            "Relocation %s is not cancelled: its organizations are visible already", relocation.id
        )
    if state is RunState.PAUSED:
        raise PauseRequested(step, run)
    if relocation.pause_before_step is not None and step >= relocation.pause_before_step:
        raise PauseRequested(step)

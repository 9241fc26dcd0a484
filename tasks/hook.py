"""The one hook: settle a run that failed, then tell the people concerned."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError
from prefect.flows import FlowStateHook
from prefect.logging.loggers import flow_run_logger
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from relocation.errors import RequestError
from relocation.prefect_api.artifacts import show_next_steps
from relocation.prefect_api.context import recovery_context
from relocation.prefect_api.flow_runs import to_run
from relocation.recovery.context import RecoveryContext
from relocation.recovery.reconcile import ReconcileResult, reconcile
from tasks.resources import Resources, forget_hold, own_hold, resources_for

_UNREADABLE = (ParameterTypeError, ParameterBindError, SignatureMismatchError, ValidationError)
"""What a run whose parameters do not fit fails with."""

_GO_ON = (
    "Relocation %s has no deployment through which it could be rerun. Fix the cause, then: "
    "prefect flow-run retry %s --entrypoint flows.relocate.relocate"
)


def settling_hook(notify: Callable[[str], object]) -> FlowStateHook[..., Any]:
    """Make the hook for on_failure, on_crashed and on_cancellation.

    It first settles the relocation in the ledger, or records that it was interrupted, which is
    idempotent; then it runs `notify` with the relocation's id. What another process holds, it
    leaves alone. It never raises: what fails is logged, and left to `handle-failure` and `sweep`.
    """

    # Prefect's worker calls hooks by keyword: these three names are part of its interface.
    def settle_and_notify(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:
        try:
            _settle_and_notify(flow, flow_run, state, notify)
        finally:
            forget_hold(str(flow_run.id))

    return settle_and_notify


def _settle_and_notify(
    flow: "Flow[..., Any]",
    flow_run: FlowRun,
    state: "State[Any]",
    notify: Callable[[str], object],
) -> None:
    log = flow_run_logger(flow_run, flow)
    relocation_id = str(flow_run.id)
    try:
        resources = resources_for(relocation_id)
        outcome = _settle(resources, flow_run, state)
    except Exception:
        log.exception(
            "Relocation %s ended, and that could not be recorded; sweep will", relocation_id
        )
        return
    log.info("Relocation %s: %s", relocation_id, outcome)
    if flow_run.deployment_id is None and not state.is_cancelled():
        log.warning(_GO_ON, relocation_id, relocation_id)
    # Also where it was settled before: that process may have died before it told anybody.
    tellers = [] if outcome in {ReconcileResult.INTERRUPTED, ReconcileResult.HELD} else [notify]
    if outcome.is_change:
        tellers.append(partial(show_next_steps, resources.ledger))
    for tell in tellers:
        try:
            tell(relocation_id)
        except Exception:
            log.exception("Relocation %s: not everybody is told yet", relocation_id)


def _settle(resources: Resources, flow_run: FlowRun, state: "State[Any]") -> ReconcileResult:
    """Reconcile the relocation; tries for a bounded time where the ledger is away."""
    deadline = time.monotonic() + resources.settings.settle_patience
    wait = 0.5
    while True:
        try:
            context = recovery_context(resources.settings, resources.ledger)
            return _reconcile(context, flow_run, state)
        except SQLAlchemyError:
            if time.monotonic() + wait > deadline:
                raise
            time.sleep(wait)
            wait *= 2


def _reconcile(context: RecoveryContext, flow_run: FlowRun, state: "State[Any]") -> ReconcileResult:
    relocation_id = str(flow_run.id)
    own = own_hold(relocation_id)
    run = to_run(flow_run.model_copy(update={"state": state}))
    if own is None:
        # This is a worker, and another process held it. The worker must not be made to wait until
        # that one's lease is over: it reports the crash once more when its hook has ended, and
        # until then a place of its limit stays taken. What it is given can be out of date.
        run = context.runs.read([relocation_id]).get(relocation_id) or run
    error = _error(state)
    return reconcile(context, relocation_id, run, error=error, own=own, set_state=False)


def _error(state: "State[Any]") -> BaseException | None:
    error = state.result(raise_on_failure=False) if state.data is not None else None
    if isinstance(error, _UNREADABLE):
        return RequestError(
            "The request is not valid: archive and owner must be text, and organizations must be "
            "a list of slugs.",
            internal=str(error),
        )
    return error if isinstance(error, BaseException) else None

"""The one hook: settle a run that failed, then tell the people concerned."""

from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import FlowStateHook
from prefect.logging.loggers import flow_run_logger

from relocation.blocks import load_ledger
from relocation.ledger.settle import Settlement
from relocation.settings import Settings
from relocation.settlement import DeadRun, settle_run
from tasks.artifacts import show_settlement


def settling_hook(notify: Callable[[str], object]) -> FlowStateHook[..., Any]:
    """Make the hook for on_failure, on_crashed and on_cancellation.

    It first settles the relocation in the ledger, which is idempotent, then runs `notify` with the
    relocation's id. It never raises: what fails is logged, and left in the ledger for the sweep.
    """

    # Prefect's worker calls hooks by keyword: these three names are part of its interface.
    def settle_and_notify(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:
        log = flow_run_logger(flow_run, flow)
        try:
            settlement = _settle(flow_run, state)
        except Exception:
            log.exception("Relocation %s failed, and that could not be recorded", flow_run.id)
            return
        if settlement is None:
            log.info("Relocation %s was settled before", flow_run.id)
            return
        log.error("Relocation %s: %s: %s", flow_run.id, settlement.status, settlement.reason)
        for tell in (notify, partial(show_settlement, settlement=settlement)):
            try:
                tell(str(flow_run.id))
            except Exception:
                log.exception("Relocation %s is settled, but not everybody is told", flow_run.id)

    return settle_and_notify


def _settle(flow_run: FlowRun, state: "State[Any]") -> Settlement | None:
    settings = Settings()
    with get_client(sync_client=True) as client:
        # What the hook is given can be older than what the server knows.
        current = client.read_flow_run(flow_run.id)
    error = state.result(raise_on_failure=False) if state.data is not None else None
    request = current.parameters.get("request")
    run = DeadRun(
        relocation_id=str(flow_run.id),
        cancelled=state.is_cancelled() or state.is_cancelling(),
        error=error if isinstance(error, BaseException) else None,
        message=state.message or "",
        request=request if isinstance(request, dict) else {},
    )
    return settle_run(load_ledger(settings), run, settings)

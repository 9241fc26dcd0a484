"""The one hook: settle a run that failed, then tell the people concerned."""

from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError
from prefect.flows import FlowStateHook
from prefect.logging.loggers import flow_run_logger
from pydantic import ValidationError

from relocation.blocks import load_ledger
from relocation.errors import PermanentError
from relocation.ledger.settle import Settlement
from relocation.settings import Settings
from relocation.settlement import DeadRun, settle_run
from tasks.artifacts import show_settlement

_UNREADABLE = (ParameterTypeError, ParameterBindError, SignatureMismatchError, ValidationError)
"""What a run whose parameters do not fit fails with."""


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
        # Also where it was settled before: that process may have died before it told anybody.
        tellers = [notify]
        if settlement is None:
            log.info("Relocation %s: there was nothing to settle", flow_run.id)
        else:
            log.error("Relocation %s: %s", flow_run.id, settlement.status)
            tellers.append(partial(show_settlement, settlement=settlement))
        for tell in tellers:
            try:
                tell(str(flow_run.id))
            except Exception:
                log.exception("Relocation %s: not everybody is told yet", flow_run.id)

    return settle_and_notify


def _settle(flow_run: FlowRun, state: "State[Any]") -> Settlement | None:
    settings = Settings()
    with get_client(sync_client=True) as client:
        # What the hook is given can be older than what the server knows.
        current = client.read_flow_run(flow_run.id)
    error = state.result(raise_on_failure=False) if state.data is not None else None
    if isinstance(error, _UNREADABLE):
        error = PermanentError(
            "The request is not valid: archive and owner must be texts, organizations a list of "
            "slugs.",
            internal=str(error),
        )
    request = current.parameters.get("request")
    run = DeadRun(
        relocation_id=str(flow_run.id),
        cancelled=state.is_cancelled() or state.is_cancelling(),
        error=error if isinstance(error, BaseException) else None,
        message=state.message or "",
        request=request if isinstance(request, dict) else {},
    )
    return settle_run(load_ledger(settings), run, settings)

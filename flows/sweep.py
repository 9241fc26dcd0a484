"""Find what nobody else has seen: dead runs, forgotten relocations, notices that are due."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from flows.notify import notify
from relocation.ledger.leases import leased_sweep
from relocation.prefect_api.context import recovery_context
from relocation.settings import Settings
from tasks.notices import renew_claims
from tasks.reconcile import reconcile_open_relocations
from tasks.retention import forget_people
from tasks.working_files import discard_abandoned_scratch, discard_old_files


def _name() -> str:
    return f"sweep-{runtime.flow_run.scheduled_start_time:%Y-%m-%dT%H:%M}"


@flow(name="sweep", flow_run_name=_name, persist_result=False)
def sweep() -> State[Any] | list[State[Any]]:
    """Settle or resume every relocation that nobody works on, then send every notice that is due.

    Safe to run twice at once, and cheap where there is nothing to do. While another sweep is at
    work it ends as Cancelled. What fails of it fails it in the end, when the rest is done.
    """
    settings = Settings()
    context = recovery_context(settings)
    ledger = context.ledger
    # Not by a concurrency limit of the server: one that is restarted forgets when to free the place
    # of a run that died, and then no sweep would ever run again.
    with leased_sweep(
        ledger,
        worker=context.worker,
        lease_seconds=settings.sweep_lease,
        clock=context.clock,
    ) as free:
        if not free:
            return Cancelled(message="Another sweep is at work.")
        return [
            reconcile_open_relocations(context, return_state=True),
            renew_claims(context, return_state=True),
            notify(return_state=True),
            discard_old_files(settings, ledger, return_state=True),
            discard_abandoned_scratch(settings, ledger, return_state=True),
            forget_people(settings, ledger, return_state=True),
        ]

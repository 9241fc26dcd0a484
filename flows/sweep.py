"""Find what nobody else has seen: dead runs, forgotten relocations, notices that are due."""

from prefect import flow, runtime

from flows.notify import notify
from tasks.reconcile import reconcile_open_relocations
from tasks.working_files import discard_abandoned_scratch, discard_old_files


def _name() -> str:
    return f"sweep-{runtime.flow_run.scheduled_start_time:%Y-%m-%dT%H:%M}"


@flow(name="sweep", flow_run_name=_name, persist_result=False)
def sweep() -> None:
    """Settle or resume every relocation that nobody works on, then send every notice that is due.

    Safe to run twice at once, and cheap where there is nothing to do.
    """
    reconcile_open_relocations(return_state=True)
    notify(return_state=True)
    discard_old_files(return_state=True)
    discard_abandoned_scratch(return_state=True)

"""Settle or resume one relocation whose run ended without success."""

from prefect import flow

from flows.notify import notify
from tasks.reconcile import reconcile_relocation


@flow(name="handle-failure", flow_run_name="handle-failure-{relocation_id}", persist_result=False)
def handle_failure(relocation_id: str) -> None:
    """Settle a failed or cancelled relocation, resume an interrupted one, and tell the people.

    An automation runs this for every `relocate` run that failed, timed out, crashed or was
    cancelled: also for those whose hook could not run. What is settled already stays as it is.
    """
    reconcile_relocation(relocation_id)
    notify(relocation_id)

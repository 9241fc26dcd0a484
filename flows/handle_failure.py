"""Settle or resume one relocation whose run ended without success."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.notify import notify
from relocation.settings import Settings
from tasks.reconcile import reconcile_relocation


@flow(name="handle-failure", flow_run_name="handle-failure-{relocation_id}", persist_result=False)
def handle_failure(
    relocation_id: Annotated[str, Field(examples=["0d8a1c8e-6f0c-4d0b-9a53-2f7d1f6a7e55"])],
) -> None:
    """Settle a failed or cancelled relocation, resume an interrupted one, and tell the people.

    An automation runs this for every `relocate` run that failed, timed out, crashed or was
    cancelled: also for those whose hook could not run. What is settled already stays as it is.

    Args:
        relocation_id: The relocation's id, which is that of its flow run.
    """
    reconcile_relocation(relocation_id, Settings())
    notify(relocation_id)

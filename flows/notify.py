"""Send the notices that are due."""

from prefect import flow

from tasks.deliver import deliver_notices


@flow(name="notify", flow_run_name="notify-{relocation_id}", persist_result=False)
def notify(relocation_id: str | None = None) -> None:
    """Build and send the notices that are due: of one relocation, or of all when none is named.

    A notice that cannot be sent now stays in the outbox with a later time.
    """
    deliver_notices(relocation_id)

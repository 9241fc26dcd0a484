"""Send the notices that are due."""

from prefect import flow, runtime

from tasks.deliver import deliver_notices


def _name() -> str:
    return f"notify-{runtime.flow_run.parameters.get('relocation_id') or 'all'}"


@flow(name="notify", flow_run_name=_name, persist_result=False)
def notify(relocation_id: str | None = None) -> None:
    """Build and send the notices that are due: of one relocation, or of all when none is named.

    A notice that cannot be sent now stays in the outbox with a later time.
    """
    deliver_notices(relocation_id)

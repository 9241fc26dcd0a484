"""Send the notices that are due."""

from typing import Annotated

from prefect import flow, runtime
from pydantic import Field

from tasks.notices import deliver_notices


def _name() -> str:
    return f"notify-{runtime.flow_run.parameters.get('relocation_id') or 'all'}"


@flow(name="notify", flow_run_name=_name, persist_result=False)
def notify(
    relocation_id: Annotated[
        str | None, Field(examples=["0d8a1c8e-6f0c-4d0b-9a53-2f7d1f6a7e55"])
    ] = None,
) -> None:
    """Build and send the notices that are due: of one relocation, or of all when none is named.

    A notice that cannot be sent now stays in the outbox with a later time.

    Args:
        relocation_id: Id of the relocation whose notices are sent; all that are due when left out.
    """
    deliver_notices(relocation_id)

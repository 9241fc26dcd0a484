"""Try the import before the destination is touched."""

from prefect import flow

from relocation.ledger.holds import Hold
from tasks.try_import import try_import


@flow(name="validate", flow_run_name="validate-{hold.relocation_id}", persist_result=False)
def validate(hold: Hold) -> None:
    """Import into a scratch database, export everything again, and compare it with the export.

    Differences end the relocation with a reason; anything else that fails is tried again.
    """
    try_import(hold)

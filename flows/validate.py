"""Try the import before the destination is touched."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from relocation.ledger.holds import Hold
from tasks.examine import examine_archive
from tasks.try_import import try_import


@flow(name="validate", flow_run_name="validate-{hold.relocation_id}", persist_result=False)
def validate(hold: Hold) -> None:
    """Import into a scratch database, export everything again, and compare it with the export.

    Differences end the relocation with a reason; anything else that fails is tried again.
    """
    try_import(hold)


@flow(name="validate-archive", persist_result=False)
def validate_archive(
    archive: Annotated[str, Field(examples=["archives/acme-export.tar"])],
    organizations: Annotated[list[str], Field(examples=[["acme"]])],
) -> None:
    """Say whether an archive would be accepted, before anybody relocates it.

    Opens no relocation, and touches neither ledger nor destination.

    Args:
        archive: Its key in the relocation storage, as `relocation submit` prints it.
        organizations: Slugs of the organizations to move, as they are in the export.
    """
    examine_archive(archive, organizations)

"""Say about an archive what a relocation of it would."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from relocation.settings import Settings
from tasks.validate_archive import examine_archive


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
    examine_archive(archive, organizations, Settings())

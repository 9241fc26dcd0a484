"""What an operator sees of a relocation in the Prefect UI: artifacts, each renewed in place."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    ArtifactFilterType,
)
from sqlalchemy import Engine

from relocation.ledger.relocations import find_relocation
from relocation.recovery.next_steps import next_steps
from relocation.settings import Settings

_DONE = 100
_log = logging.getLogger(__name__)


def show_next_steps(ledger: Engine, relocation_id: str) -> None:
    """Show how a relocation ended or why it waits, and what an operator can do next.

    A no-op where the ledger has no such relocation.
    """
    relocation = find_relocation(ledger, relocation_id)
    if relocation is not None:
        text, description = (
            next_steps(ledger, relocation),
            f"{relocation.status}, and what to do next",
        )
        show(relocation_id, "what-to-do-next", "markdown", text, description)


def show(
    relocation_id: str, what: str, kind: str, data: str | float, description: str
) -> UUID | None:
    """Attach an artifact to the relocation's run, from whichever process, or renew the one it has.

    Those of all relocations have one key, and so one line with its history in the Prefect UI. It is
    for looking at: where the server does not take it, the work goes on without.
    """
    run, key = UUID(relocation_id), Settings().named(f"relocation-{what}")
    former = f"{what}-{relocation_id}".lower()  # of a relocation that an older version began
    try:
        with get_client(sync_client=True) as client:
            mine = ArtifactFilter(
                key=ArtifactFilterKey(any_=[key, former]),
                flow_run_id=ArtifactFilterFlowRunId(any_=[run]),
            )
            for old in client.read_artifacts(artifact_filter=mine, limit=1):
                client.update_artifact(old.id, ArtifactUpdate(data=data, description=description))
                return old.id
            new = ArtifactCreate(
                key=key, type=kind, data=data, description=description, flow_run_id=run
            )
            return client.create_artifact(new).id
    except httpx.HTTPError:
        _log.warning("No artifact %s for relocation %s", what, relocation_id, exc_info=True)
        return None


def show_progress(artifact: UUID, progress: float, description: str) -> None:
    """Renew an artifact that shows how far something is, in percent and in words."""
    try:
        with get_client(sync_client=True) as client:
            client.update_artifact(artifact, ArtifactUpdate(data=progress, description=description))
    except httpx.HTTPError:
        _log.warning("The progress could not be shown", exc_info=True)


def progress_of(relocation_id: str) -> str | None:
    """Return how far the import of a relocation is, in words; None where nothing goes on."""
    mine = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(relocation_id)]),
        type=ArtifactFilterType(any_=["progress"]),
    )
    try:
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=mine, limit=1)
    except httpx.HTTPError:
        return None
    return next(
        (
            f"{one.description}: {one.data:.0f} %"
            for one in found
            if isinstance(one.data, int | float) and one.data < _DONE
        ),
        None,
    )

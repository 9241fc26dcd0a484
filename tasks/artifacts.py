"""What an operator sees of a relocation in the Prefect UI, beside its states and logs."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)

from relocation.findings import Finding
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation
from relocation.recovery.next_steps import code, code_list, standing
from relocation.transfer.load.chunks import Account
from tasks.held import opened_for

SHOWN = 200
"""Most rows of a table: the ledger and the destination have them all."""
_UPDATE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Progress:
    """Show how far an import is, at most every two seconds; called with records just done."""

    def __init__(self, what: str, relocation_id: str, total: int) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._due = time.monotonic() + _UPDATE_SECONDS
        description = f"{what} of {total} records"
        self._artifact = _show(relocation_id, "progress", "progress", 0.0, description)

    def __call__(self, _model: str, records: int) -> None:
        """Count records of a model as done."""
        self._done += records
        if self._artifact and (time.monotonic() >= self._due or self._done >= self._total):
            self._due = time.monotonic() + _UPDATE_SECONDS
            _update(self._artifact, min(100.0, 100 * self._done / self._total))


def show_request(relocation: Relocation) -> None:
    """Show what was asked; for whom is among the parameters of the run alone."""
    _markdown(
        relocation.id,
        "what-was-asked",
        f"# Relocation `{relocation.id}`\n\n"
        f"- Organizations: {code_list(list(relocation.organizations))}\n"
        f"- {'From' if relocation.source else 'Archive'}: "
        f"`{code(relocation.source or relocation.archive)}`\n"
        f"- Round: {relocation.round}\n",
        "What was asked",
    )


def show_accounts(relocation_id: str, accounts: Mapping[str, Account]) -> None:
    """Show what became of the records, model by model (B-4)."""
    total = sum(accounts.values(), Account())
    rows = [{"model": model, **asdict(account)} for model, account in accounts.items()]
    _table(
        relocation_id,
        "accounts",
        [*rows, {"model": "all", **asdict(total)}],
        f"What became of every record: {total.read} read, {total.inserted} inserted",
    )


def show_findings(relocation_id: str, findings: Sequence[Finding]) -> None:
    """Show what was found, the first two hundred."""
    rows = [finding.as_json() for finding in findings[:SHOWN]]
    _table(relocation_id, "findings", rows, f"{len(findings)} findings")


def show_notices(relocation_id: str) -> None:
    """Show what became of the mails; whom they went to is in the ledger alone."""
    notices = notices_of(opened_for(relocation_id).ledger, relocation_id)
    rows = [
        {
            "kind": notice.kind,
            "round": notice.round,
            "state": notice.state,
            "tries": notice.tries,
            "sent at": notice.sent_at.isoformat(timespec="seconds") if notice.sent_at else "",
        }
        for notice in notices[:SHOWN]
    ]
    _table(relocation_id, "notices", rows, f"{len(notices)} mails")


def show_standing(relocation_id: str) -> None:
    """Show how a relocation ended or why it waits, and what an operator can do next."""
    ledger = opened_for(relocation_id).ledger
    relocation = get_relocation(ledger, relocation_id)
    text = standing(ledger, relocation)
    _markdown(relocation_id, "what-to-do-next", text, f"{relocation.status}, and what to do next")


def _markdown(relocation_id: str, what: str, text: str, description: str) -> None:
    _show(relocation_id, what, "markdown", text, description)


def _table(
    relocation_id: str, what: str, rows: Sequence[Mapping[str, Any]], description: str
) -> None:
    _show(relocation_id, what, "table", json.dumps(rows), description)


def _show(
    relocation_id: str, what: str, kind: str, data: str | float, description: str
) -> UUID | None:
    """Attach an artifact to the relocation's run, from whichever process, or renew the one it has.

    It is for looking at: where the server does not take it, the work goes on without.
    """
    run, key = UUID(relocation_id), f"{what}-{relocation_id}".lower()
    try:
        with get_client(sync_client=True) as client:
            mine = ArtifactFilter(
                key=ArtifactFilterKey(any_=[key]),
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


def _update(artifact: UUID, progress: float) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.update_artifact(artifact, ArtifactUpdate(data=progress))
    except httpx.HTTPError:
        _log.warning("The progress could not be shown", exc_info=True)

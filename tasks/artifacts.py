"""What an operator sees of a relocation in the Prefect UI, beside its states and logs."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from relocation.findings import Finding
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import Relocation, get_relocation
from relocation.steps import Status
from relocation.text import listed, one_line
from relocation.transfer.chunks import Account
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
    """Show what was asked."""
    _markdown(
        relocation.id,
        "request",
        f"# Relocation `{relocation.id}`\n\n"
        f"- Organizations: {listed([f'`{_code(slug)}`' for slug in relocation.organizations])}\n"
        f"- Archive: `{_code(relocation.archive)}`\n"
        f"- Owner: `{_code(relocation.owner)}`\n"
        f"- Round: {relocation.round}\n",
        "What was asked",
    )


def show_accounts(relocation_id: str, accounts: Mapping[str, Account]) -> None:
    """Show what became of the records, model by model (B-4)."""
    _table(
        relocation_id,
        "accounts",
        [
            {
                "model": model,
                "read": account.read,
                "inserted": account.inserted,
                "merged": account.merged,
                "overwritten": account.overwritten,
                "skipped": account.skipped,
                "dropped": account.dropped,
            }
            for model, account in accounts.items()
        ],
        "What became of every record",
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


def show_settlement(relocation_id: str) -> None:
    """Show why a relocation ended without success, and what an operator can do next."""
    ended = get_relocation(opened_for(relocation_id).ledger, relocation_id)
    where = f" in `{ended.failed_task}`" if ended.failed_task else ""
    _markdown(
        relocation_id,
        "settlement",
        f"# {ended.status}{where}\n\n> {ended.reason}\n\n## What to do next\n\n"
        + _next_steps(ended),
        "Why it ended, and what to do next",
    )


def _next_steps(ended: Relocation) -> str:
    if ended.status is Status.CANCELLED:
        return "Nothing: what was imported is removed. To begin again, **Copy to new run**.\n"
    return (
        f"1. Read the internal cause: `relocation show {ended.id}`.\n"
        "2. Mend it, then press **Retry** on this flow run: the tasks that are done are skipped.\n"
        "3. If the archive or the request is wrong, submit a new relocation instead.\n"
        f"4. To remove what was imported so far: `relocation rollback {ended.id}`.\n"
    )


def _markdown(relocation_id: str, what: str, text: str, description: str) -> None:
    _show(relocation_id, what, "markdown", text, description)


def _table(
    relocation_id: str, what: str, rows: Sequence[Mapping[str, Any]], description: str
) -> None:
    _show(relocation_id, what, "table", json.dumps(rows), description)


def _show(
    relocation_id: str, what: str, kind: str, data: str | float, description: str
) -> UUID | None:
    """Attach an artifact to the relocation's run, from whichever process.

    It is for looking at: where the server does not take it, the work goes on without.
    """
    artifact = ArtifactCreate(
        key=_key(what, relocation_id),
        type=kind,
        data=data,
        description=description,
        flow_run_id=UUID(relocation_id),
    )
    try:
        with get_client(sync_client=True) as client:
            return client.create_artifact(artifact).id
    except httpx.HTTPError:
        _log.warning("No artifact %s for relocation %s", what, relocation_id, exc_info=True)
        return None


def _update(artifact: UUID, progress: float) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.update_artifact(artifact, ArtifactUpdate(data=progress))
    except httpx.HTTPError:
        _log.warning("The progress could not be shown", exc_info=True)


def _key(what: str, relocation_id: str) -> str:
    return f"relocation-{what}-{relocation_id}".lower()


def _code(text: str) -> str:
    return one_line(text, limit=120).replace("`", "'")

"""What an operator sees of a relocation in the Prefect UI, beside its states and logs."""

import time
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from relocation.blocks import load_ledger
from relocation.findings import Finding
from relocation.ledger.relocations import Relocation, get_relocation
from relocation.settings import Settings
from relocation.text import listed, one_line
from relocation.transfer.chunks import Account

SHOWN_FINDINGS = 200
_UPDATE_SECONDS = 2.0


class Progress:
    """Show how far an import is, at most every two seconds; called with records just done."""

    def __init__(self, what: str, relocation_id: str, total: int) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._due = time.monotonic() + _UPDATE_SECONDS
        self._artifact = cast(
            UUID,  # the signature leaves room for a coroutine, which only async callers get
            create_progress_artifact(
                0.0, key=_key("progress", relocation_id), description=f"{what} of {total} records"
            ),
        )

    def __call__(self, _model: str, records: int) -> None:
        """Count records of a model as done."""
        self._done += records
        if time.monotonic() >= self._due or self._done >= self._total:
            self._due = time.monotonic() + _UPDATE_SECONDS
            update_progress_artifact(self._artifact, min(100.0, 100 * self._done / self._total))


def show_request(relocation: Relocation) -> None:
    """Show what was asked."""
    create_markdown_artifact(
        f"# Relocation `{relocation.id}`\n\n"
        f"- Organizations: {listed([f'`{_code(slug)}`' for slug in relocation.organizations])}\n"
        f"- Archive: `{_code(relocation.archive)}`\n"
        f"- Owner: `{_code(relocation.owner)}`\n"
        f"- Round: {relocation.round}\n",
        key=_key("request", relocation.id),
        description="What was asked",
    )


def show_accounts(relocation_id: str, accounts: Mapping[str, Account]) -> None:
    """Show what became of the records, model by model (B-4)."""
    create_table_artifact(
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
        key=_key("accounts", relocation_id),
        description="What became of every record",
    )


def show_findings(relocation_id: str, findings: Sequence[Finding]) -> None:
    """Show what was found, the first two hundred."""
    create_table_artifact(
        [finding.as_json() for finding in findings[:SHOWN_FINDINGS]],
        key=_key("findings", relocation_id),
        description=f"{len(findings)} findings",
    )


def show_settlement(relocation_id: str) -> None:
    """Show why a relocation ended without success, and what an operator can do next."""
    ended = get_relocation(load_ledger(Settings()), relocation_id)
    where = f" in `{ended.failed_task}`" if ended.failed_task else ""
    create_markdown_artifact(
        f"# {ended.status}{where}\n\n> {ended.reason}\n\n"
        "## What to do next\n\n"
        f"1. Read the internal cause: `relocation show {relocation_id}`.\n"
        "2. Mend it, then press **Retry** on this flow run: the tasks that are done are skipped.\n"
        "3. If the archive or the request is wrong, submit a new relocation instead.\n",
        key=_key("settlement", relocation_id),
        description="Why it ended, and what to do next",
    )


def _key(what: str, relocation_id: str) -> str:
    return f"relocation-{what}-{relocation_id}".lower()


def _code(text: str) -> str:
    return one_line(text, limit=120).replace("`", "'")

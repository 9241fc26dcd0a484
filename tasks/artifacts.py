"""What an operator sees of a relocation in the Prefect UI, beside its states and logs."""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from relocation.findings import Finding
from relocation.ledger.outbox import notices_of
from relocation.model import RecordCounts, Relocation
from relocation.prefect_api.artifacts import show, show_progress
from relocation.recovery.next_steps import code, code_list
from relocation.text import counted, time_left

SHOWN = 200
"""Most rows of a table: the ledger and the destination have them all."""
_UPDATE_SECONDS = 2.0
_PACE_SECONDS = 60.0


class Pace:
    """How fast records are done, by those of the last minute.

    Not by all: what an earlier try wrote passes in no time when an import goes on.
    """

    def __init__(self, now: float) -> None:
        self._seen = deque([(now, 0)])

    def seconds_left(self, now: float, done: int, total: int) -> float | None:
        """Return how long the rest will take, when `done` of `total` are done; None if unknown."""
        while len(self._seen) > 1 and self._seen[0][0] < now - _PACE_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        self._seen.append((now, done))
        if now - began < _UPDATE_SECONDS or not before < done < total:
            return None
        return (total - done) * (now - began) / (done - before)


class Progress:
    """Show how far an import is, at most every two seconds; called with records just done."""

    def __init__(self, what: str, relocation_id: str, total: int) -> None:
        self._total = max(total, 1)
        self._done = 0
        now = time.monotonic()
        self._due = now + _UPDATE_SECONDS
        self._pace = Pace(now)
        self._what = f"{what} of {counted(total, 'record')}"
        self._artifact = show(relocation_id, "progress", "progress", 0.0, self._what)

    def __call__(self, _model: str, records: int) -> None:
        """Count records of a model as done."""
        self._done += records
        now = time.monotonic()
        if self._artifact and (now >= self._due or self._done >= self._total):
            self._due = now + _UPDATE_SECONDS
            left = self._pace.seconds_left(now, self._done, self._total)
            description = self._what if left is None else f"{self._what}, {time_left(left)}"
            show_progress(self._artifact, min(100.0, 100 * self._done / self._total), description)


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
        "What was requested",
    )


def show_accounts(relocation_id: str, accounts: Mapping[str, RecordCounts]) -> None:
    """Show what became of the records, model by model (B-4)."""
    total = sum(accounts.values(), RecordCounts())
    rows = [{"model": model, **asdict(account)} for model, account in accounts.items()]
    _table(
        relocation_id,
        "accounts",
        [*rows, {"model": "all", **asdict(total)}],
        f"What became of every record: {total.read:,} read, {_parts(total)}",
    )


def _parts(total: RecordCounts) -> str:
    """Say what became of all that was read: the parts are the whole."""
    parts = {"inserted": total.inserted, "merged": total.merged, "overwritten": total.overwritten}
    parts |= {"skipped": total.skipped, "dropped": total.dropped}
    return ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)


def show_findings(relocation_id: str, findings: Sequence[Finding]) -> None:
    """Show what was found, the first two hundred."""
    rows = [finding.as_json() for finding in findings[:SHOWN]]
    _table(relocation_id, "findings", rows, counted(len(findings), "finding"))


def show_notices(ledger: Engine, relocation_id: str) -> None:
    """Show what became of the mails; whom they went to is in the ledger alone."""
    notices = notices_of(ledger, relocation_id)
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
    _table(relocation_id, "notices", rows, counted(len(notices), "mail"))


def _markdown(relocation_id: str, what: str, text: str, description: str) -> None:
    show(relocation_id, what, "markdown", text, description)


def _table(
    relocation_id: str, what: str, rows: Sequence[Mapping[str, Any]], description: str
) -> None:
    show(relocation_id, what, "table", json.dumps(rows), description)

"""The notices of a relocation that failed or was cancelled."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from relocation.errors import NOTHING_TO_DO
from relocation.findings import Finding
from relocation.model import Relocation
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.labels import label
from relocation.notices.recipients import people_drafts
from relocation.request import RelocationRequest

SHOWN_FINDINGS = 10


class Destination(StrEnum):
    """What a relocation has left in the destination, as its notices say it."""

    UNCHANGED = "unchanged"
    """Nothing was ever written."""
    HIDDEN = "hidden"
    """At least one chunk was written, and nobody can see it."""
    VISIBLE = "visible"
    REMOVED = "removed"
    """What was written was rolled back."""


def failure_drafts(
    about: Relocation | RelocationRequest,
    *,
    reason: str,
    advice: str,
    findings: Sequence[Finding] = (),
    destination: Destination,
    operator: str,
    now: datetime,
) -> list[NoticeDraft]:
    """Return the FAILED notices of a relocation, or of a request that never became one."""
    context = {
        **_ended(about, destination, now),
        "reason": reason,
        "next_step": advice,
        "ours": advice == NOTHING_TO_DO,
        "findings": [_finding(finding) for finding in findings[:SHOWN_FINDINGS]],
        "more_findings": max(0, len(findings) - SHOWN_FINDINGS),
        "round": about.round if isinstance(about, Relocation) else 1,
    }
    return people_drafts(NoticeKind.FAILED, context, operator, about=about)


def cancelled_drafts(
    about: Relocation | RelocationRequest,
    *,
    destination: Destination,
    operator: str,
    now: datetime,
) -> list[NoticeDraft]:
    """Return the CANCELLED notices of a relocation, or of a request (W-43)."""
    context = _ended(about, destination, now)
    return people_drafts(NoticeKind.CANCELLED, context, operator, about=about)


def _ended(
    about: Relocation | RelocationRequest, destination: Destination, now: datetime
) -> dict[str, Any]:
    return {
        "organizations": list(about.organizations),
        "destination_state": destination.value,
        "happened_at": now.isoformat(timespec="seconds"),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "what": label(finding.model),
        "record": finding.pk,
        "field": finding.field,
        "reason": finding.reason,
    }

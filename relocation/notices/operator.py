"""The notices that ask for a person: what needs an operator, of one relocation each.

Each alert is sent once a round, however often it is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from relocation.errors import MAX_REASON
from relocation.notices.failure import Destination
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind, Window
from relocation.settings import Settings
from relocation.steps import Status, Step, Task
from relocation.text import one_line


class OperatorAlert(StrEnum):
    """What an operator is asked to see to, as the templates name it."""

    STUCK = "stuck"
    UNDELIVERABLE = "undeliverable"
    UNSETTLED = "unsettled"
    FAILED = "failed"
    DIGEST = "digest"
    """Several failures of one cause."""


SHOWN_FAILURES = 50


@dataclass(frozen=True)
class Operator:
    """Where operators are told: by mail, and by a notification block where one is named."""

    email: str
    block: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings name."""
        return cls(settings.operator_email, settings.operator_block)

    def drafts(
        self, context: dict[str, Any], *, about: str, window: Window | None = None
    ) -> list[NoticeDraft]:
        """Return the OPERATOR notice of an alert, one for each way it goes."""
        told = [(Channel.MAIL, self.email), (Channel.BLOCK, self.block)]
        return [
            NoticeDraft(NoticeKind.OPERATOR, where, context, about, channel=channel, window=window)
            for channel, where in told
            if where
        ]


def failed_drafts(
    operator: Operator,
    organizations: Sequence[str],
    *,
    task: Task | None,
    tries: int,
    reason: str,
    fault: str,
    destination: Destination,
    window: Window,
    now: datetime,
) -> list[NoticeDraft]:
    """Return the notice of a failure that its owner cannot fix.

    `fault` is what an operator may read of the internal error (`faults.py`). Those of one cause
    wait for each other within the window.
    """
    context = {
        "matter": OperatorAlert.FAILED.value,
        "organizations": list(organizations),
        "task": task.value if task else "",
        "tries": tries,
        "reason": reason,
        "fault": fault,
        "destination_state": destination.value,
        "happened_at": now.isoformat(timespec="seconds"),
    }
    return operator.drafts(context, about=OperatorAlert.FAILED.value, window=window)


def digest_draft(
    recipient: str, channel: Channel, told: Sequence[tuple[str, Mapping[str, Any]]], *, about: str
) -> NoticeDraft:
    """Return the one notice that takes the place of those of several failures of one cause.

    `told` holds the facts of each, by relocation, the oldest first.
    """
    _, first = told[0]
    failures = [
        {
            "relocation_id": relocation_id,
            "organizations": list(facts["organizations"]),
            "happened_at": facts["happened_at"],
        }
        for relocation_id, facts in told[:SHOWN_FAILURES]
    ]
    context = {
        "matter": OperatorAlert.DIGEST.value,
        "organizations": [],
        "task": first["task"],
        "reason": first["reason"],
        "fault": first["fault"],
        "since": first["happened_at"],
        "count": len(told),
        "failures": failures,
        "more_failures": max(0, len(told) - SHOWN_FAILURES),
    }
    return NoticeDraft(NoticeKind.OPERATOR, recipient, context, about, channel=channel)


def stuck_drafts(
    operator: Operator, organizations: Sequence[str], *, status: Status, step: Step, since: datetime
) -> list[NoticeDraft]:
    """Return the notice of a relocation that has been silent beyond its bound."""
    return _drafts(
        operator,
        OperatorAlert.STUCK,
        organizations,
        status=status.value,
        step=step.name,
        since=since.isoformat(timespec="seconds"),
    )


def undeliverable_drafts(
    operator: Operator,
    organizations: Sequence[str],
    *,
    kind: NoticeKind,
    recipient: str,
    reply: str,
    waits: bool = False,
) -> list[NoticeDraft]:
    """Return the notice of a kind of notice that could not be delivered; once for each kind.

    `reply` is what the mail server said, or why the notice could not be built; `waits` where it
    goes out by itself once that is fixed. Nothing where it is an OPERATOR notice itself: no mail
    can tell of that.
    """
    if kind is NoticeKind.OPERATOR:
        return []
    masked = _masked(recipient)
    return _drafts(
        operator,
        OperatorAlert.UNDELIVERABLE,
        organizations,
        about=f"{OperatorAlert.UNDELIVERABLE}:{kind}{':waits' if waits else ''}",
        undelivered=kind.value,
        recipient_hint=masked,
        reply=one_line(reply.replace(recipient, masked), limit=MAX_REASON),
        waits=waits,
    )


def unsettled_drafts(
    operator: Operator, organizations: Sequence[str], *, why: str
) -> list[NoticeDraft]:
    """Return the notice of a relocation whose end could not be recorded at first.

    `why` is for operators, and bounded here.
    """
    return _drafts(
        operator, OperatorAlert.UNSETTLED, organizations, why=one_line(why, limit=MAX_REASON)
    )


def _drafts(
    operator: Operator,
    alert: OperatorAlert,
    organizations: Sequence[str],
    *,
    about: str = "",
    **facts: Any,
) -> list[NoticeDraft]:
    context = {"matter": alert.value, "organizations": list(organizations), **facts}
    return operator.drafts(context, about=about or alert.value)


def _masked(address: str) -> str:
    """Return an address by its first letter and its domain: enough to find the fault."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}***{at}{domain}"

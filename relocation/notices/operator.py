"""The notices that ask for a person: what needs an operator, of one relocation each.

Each matter is told once a round, however often it is found.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from relocation.errors import MAX_REASON
from relocation.notices.kinds import Draft, NoticeKind
from relocation.steps import Status, Step
from relocation.text import one_line


class Matter(StrEnum):
    """What an operator is asked to see to, as the templates name it."""

    STUCK = "stuck"
    UNDELIVERABLE = "undeliverable"
    UNSETTLED = "unsettled"


def stuck_draft(
    operator: str, organizations: Sequence[str], *, status: Status, step: Step, since: datetime
) -> Draft:
    """Return the notice of a relocation that has been silent beyond its bound."""
    return _draft(
        operator,
        Matter.STUCK,
        organizations,
        status=status.value,
        step=step.name,
        since=since.isoformat(timespec="seconds"),
    )


def undeliverable_draft(
    operator: str, organizations: Sequence[str], *, kind: NoticeKind, recipient: str, reply: str
) -> Draft | None:
    """Return the notice of a kind of notice that could not be delivered; once for each kind.

    `reply` is what the mail server said, or why the notice could not be built. None where it is an
    OPERATOR notice itself: no mail can tell of that.
    """
    if kind is NoticeKind.OPERATOR:
        return None
    masked = _masked(recipient)
    return _draft(
        operator,
        Matter.UNDELIVERABLE,
        organizations,
        about=f"{Matter.UNDELIVERABLE}:{kind}",
        undelivered=kind.value,
        recipient_hint=masked,
        reply=one_line(reply.replace(recipient, masked), limit=MAX_REASON),
    )


def unsettled_draft(operator: str, organizations: Sequence[str], *, why: str) -> Draft:
    """Return the notice of a relocation whose end could not be recorded at first.

    `why` is for operators, and bounded here.
    """
    return _draft(operator, Matter.UNSETTLED, organizations, why=one_line(why, limit=MAX_REASON))


def _draft(
    operator: str, matter: Matter, organizations: Sequence[str], *, about: str = "", **facts: Any
) -> Draft:
    context = {"matter": matter.value, "organizations": list(organizations), **facts}
    return Draft(NoticeKind.OPERATOR, operator, context, about=about or matter.value)


def _masked(address: str) -> str:
    """Return an address by its first letter and its domain: enough to find the fault."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}***{at}{domain}"

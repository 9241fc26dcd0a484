"""The notices that ask for a person: what needs an operator, of one relocation each.

Each matter is told once a round, however often it is found.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from relocation.errors import MAX_REASON
from relocation.notices.kinds import Draft, NoticeKind
from relocation.text import one_line


class Matter(StrEnum):
    """What an operator is asked to see to, as the templates name it."""

    UNDELIVERABLE = "undeliverable"


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
        kind=kind.value,
        recipient_hint=masked,
        reply=one_line(reply.replace(recipient, masked), limit=MAX_REASON),
    )


def _draft(
    operator: str, matter: Matter, organizations: Sequence[str], *, about: str = "", **facts: Any
) -> Draft:
    context = {"matter": matter.value, "organizations": list(organizations), **facts}
    return Draft(NoticeKind.OPERATOR, operator, context, about=about or matter.value)


def _masked(address: str) -> str:
    """Return an address by its first letter and its domain: enough to find the fault."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}***{at}{domain}"

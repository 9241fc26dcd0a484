"""The kinds of notices, and what makes one unique."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class NoticeKind(StrEnum):
    """What a notice tells; stored by name, and the name of its folder in lower case."""

    STARTED = "STARTED"
    FAILED = "FAILED"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    CLAIM = "CLAIM"
    OPERATOR = "OPERATOR"


PER_ROUND = frozenset({NoticeKind.FAILED, NoticeKind.CANCELLED, NoticeKind.OPERATOR})
"""Told once a round and recipient; every other kind once a relocation and recipient."""


@dataclass(frozen=True)
class Draft:
    """A notice as a settlement asks for it: not built, not addressed by name."""

    kind: NoticeKind
    recipient: str
    context: dict[str, Any] = field(default_factory=dict)
    """Plain JSON data for the templates."""
    about: str = ""
    """Tells notices of one kind to one address apart: the username of a claim, an operator's
    matter."""

    def key(self, relocation_id: str, round_: int) -> str:
        """Return what makes this notice unique (DESIGN 7)."""
        counted = round_ if self.kind in PER_ROUND else 0
        return f"{relocation_id}:{self.kind}:{counted}:{self.recipient.lower()}:{self.about}"

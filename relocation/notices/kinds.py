"""The kinds of notices, and what makes one unique."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
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


class Channel(StrEnum):
    """The way a notice goes; stored by these names."""

    MAIL = "mail"
    BLOCK = "block"
    """A Prefect notification block; the recipient is its type and name."""


MAX_CAUSE = 300
"""Most characters of what failures have in common."""

PER_ROUND = frozenset({NoticeKind.FAILED, NoticeKind.CANCELLED, NoticeKind.OPERATOR})
"""Told once a round and recipient; every other kind once a relocation and recipient."""


@dataclass(frozen=True)
class Window:
    """How long notices of one cause wait for each other, once the first has gone out."""

    cause: str
    length: timedelta


@dataclass(frozen=True)
class NoticeDraft:
    """A notice as a settlement asks for it: not built, not addressed by name."""

    kind: NoticeKind
    recipient: str
    context: dict[str, Any] = field(default_factory=dict)
    """Plain JSON data for the templates."""
    about: str = ""
    """Tells notices of one kind to one address apart: the username of a claim, an operator's
    alert."""
    channel: Channel = Channel.MAIL
    edition: int = 0
    """How often this notice was replaced before."""
    valid_until: datetime | None = None
    """When it is no longer worth sending: the link in it is dead from then on."""
    window: Window | None = None
    """Set where it may be taken into a digest with others of its cause."""

    def key(self, relocation_id: str, round_: int) -> str:
        """Return what makes this notice unique (DESIGN 7)."""
        counted = round_ if self.kind in PER_ROUND else 0
        key = f"{relocation_id}:{self.kind}:{counted}:{self.recipient.lower()}:{self.about}"
        return f"{key}:{self.edition}" if self.edition else key

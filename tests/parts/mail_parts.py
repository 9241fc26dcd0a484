"""A mail that is built for a test, and what it says."""

from email.message import EmailMessage
from typing import Protocol

from relocation.notices.kinds import NoticeKind


class Build(Protocol):
    """Builds a notice of a kind; keywords change its facts, or how it is addressed."""

    def __call__(self, kind: NoticeKind, **changes: object) -> EmailMessage: ...


def text_of(message: EmailMessage) -> str:
    """Return the part that is plain text."""
    return _part(message, "plain")


def html_of(message: EmailMessage) -> str:
    """Return the part that is HTML."""
    return _part(message, "html")


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())

"""Build the message of a notice: a pure function of its facts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from hashlib import sha256
from typing import Any, Self
from urllib.parse import urlsplit

from relocation.errors import MAX_REASON, ConfigurationError, PermanentError
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Rendered, Templates, Trusted, render
from relocation.notices.wire import WIRE, identifier, mail_address
from relocation.settings import Settings
from relocation.text import one_line

MAX_PREFIX = 40
_PRINTABLE = re.compile(r"[!-~]+")


class NoticeError(PermanentError):
    """A notice cannot be built, now or later: its address, its facts or its template is wrong."""


@dataclass(frozen=True)
class Branding:
    """Who speaks in a notice; everything in it is the operator's own and trusted."""

    product_name: str
    support_email: str
    base_url: str
    sender_email: str
    runs_url: str = ""
    """What the id of a flow run is added to for its page in the Prefect UI; empty for no link."""
    subject_prefix: str = ""
    """What every subject begins with, after the "Re: " of an answer; empty for none."""

    def __post_init__(self) -> None:
        """Refuse what no notice could be built with; raises ConfigurationError."""
        try:
            mail_address(self.sender_email, self.product_name)
            mail_address(self.support_email)
            _link(self.base_url)
            if self.runs_url:
                _link(self.runs_url)
        except ValueError as err:
            raise ConfigurationError(
                "The notices are not set up correctly.",
                internal="product_name, sender_email, support_email, base_url, or the address of "
                f"the Prefect UI: {err}",
            ) from err

    @classmethod
    def of(cls, settings: Settings, *, runs_url: str = "") -> Self:
        """Return the branding that the settings ask for."""
        return cls(
            product_name=Trusted(settings.product_name),
            support_email=Trusted(settings.support_email),
            base_url=Trusted(settings.base_url.rstrip("/")),
            sender_email=Trusted(settings.sender_email),
            runs_url=Trusted(runs_url),
            subject_prefix=Trusted(one_line(settings.subject_prefix, limit=MAX_PREFIX)),
        )


def build_notice(
    kind: NoticeKind,
    *,
    recipient: str,
    context: Mapping[str, Any],
    message_id: str,
    date: datetime,
    branding: Branding,
    templates: Templates,
    in_reply_to: str | None = None,
    attachments: Mapping[str, bytes] | None = None,
) -> EmailMessage:
    """Build a notice to one recipient; the same facts give the same bytes (A-140, A-144, A-146).

    `date` is aware, `context` holds the `relocation_id` beside the facts of its kind, `in_reply_to`
    is the Message-ID of the STARTED notice: the subject then begins with "Re: " (A-143).
    `attachments` are zip files by name. Raises NoticeError. In place of the reference's `build`.
    """
    rendered = render_notice(
        kind, recipient=recipient, context=context, branding=branding, templates=templates
    )
    try:
        message = _addressed(recipient, message_id, date, branding, in_reply_to)
        _fill(message, rendered, message_id, in_reply_to)
        return _attached(message, attachments or {}, message_id)
    except Exception as err:
        raise _unbuildable(kind, err) from err


def render_notice(
    kind: NoticeKind,
    *,
    recipient: str,
    context: Mapping[str, Any],
    branding: Branding,
    templates: Templates,
) -> Rendered:
    """Put a notice into words, whichever way it goes; raises NoticeError."""
    try:
        values = {
            "stands_in_for": [],
            "handover": "",  # notices of an earlier version have none
            **_safe(context, recipient),
            "kind": kind.value,
            "recipient": _safe(recipient, recipient),
            "branding": branding,
        }
        rendered = render(templates[kind], values)
        subject = f"{branding.subject_prefix} {rendered.subject}".strip()
        return replace(rendered, subject=subject)
    except Exception as err:  # operators' templates may raise anything
        raise _unbuildable(kind, err) from err


def _unbuildable(kind: NoticeKind, err: Exception) -> NoticeError:
    return NoticeError(
        "The notice could not be built.", internal=f"{kind}: {type(err).__name__}: {err}"
    )


def _addressed(
    recipient: str, message_id: str, date: datetime, branding: Branding, in_reply_to: str | None
) -> EmailMessage:
    """Return a message with all headers but the subject.

    Automatic answers are asked not to come (M-12, W-40); a person's go to the support (W-30).
    """
    message = EmailMessage(policy=WIRE)
    sender = mail_address(branding.sender_email, branding.product_name)
    message["Message-ID"] = identifier(message_id)
    message["Date"] = date
    message["From"] = sender
    message["To"] = mail_address(recipient)
    message["Reply-To"] = mail_address(branding.support_email)
    if in_reply_to:
        message["In-Reply-To"] = identifier(in_reply_to)
        message["References"] = identifier(in_reply_to)
    message["List-Id"] = f"<notices.{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    return message


def _fill(
    message: EmailMessage, rendered: Rendered, message_id: str, in_reply_to: str | None
) -> None:
    message["Subject"] = f"Re: {rendered.subject}" if in_reply_to else rendered.subject
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    # "=_" cannot occur in quoted-printable text, and a boundary by chance would change the bytes.
    message.set_boundary("=_" + sha256(message_id.encode()).hexdigest()[:32])


def _attached(
    message: EmailMessage, attachments: Mapping[str, bytes], message_id: str
) -> EmailMessage:
    for name, content in attachments.items():
        message.add_attachment(content, maintype="application", subtype="zip", filename=name)
    if attachments:
        message.set_boundary("=_" + sha256(f"mixed {message_id}".encode()).hexdigest()[:32])
    return message


def _safe(value: Any, recipient: str) -> Any:
    """Return the facts with every text on one bounded line, free of control characters.

    The reader's own address stays as it is: often it is a username, to be copied into a login.
    """
    if isinstance(value, Mapping):
        return {
            key: _link(item) if key == "claim_url" else _safe(item, recipient)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_safe(item, recipient) for item in value]
    if not isinstance(value, str):
        return value
    line = one_line(value, limit=MAX_REASON)
    return Trusted(line) if line == recipient else line


def _link(url: str) -> Trusted:
    """Return a link that may be shown and followed; raises ValueError for any other text."""
    if not _PRINTABLE.fullmatch(url) or urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError("a link must be an http or https address without blanks")
    return Trusted(url)

"""What it takes to send notices, and the message that each of them becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from relocation.delivery.smtp import Mailer
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.ledger.outbox import Notice, thread_of
from relocation.ledger.reports import reports_of
from relocation.notices.building import Branding, build_notice, render_notice
from relocation.notices.handover_kit import KIT, kit_archive
from relocation.notices.kinds import Channel, NoticeKind
from relocation.notices.rendering import Templates
from relocation.notices.signing import SigningKey
from relocation.notices.success import HandOver
from relocation.notices.wire import wire_bytes
from relocation.steps import Task

SPARE_SECONDS = 120.0
"""How much longer than the mail server may take the lease of a notice is: it may wait its turn."""
GROUP = 100
"""Most notices that are leased and built together."""

_REPLIES = frozenset({NoticeKind.FAILED, NoticeKind.SUCCEEDED, NoticeKind.CANCELLED})
"""Kinds that go into the thread of the STARTED notice."""

SendToBlock = Callable[[str, str, str], object]
"""Sends subject and text through the block of this type/name; raises where that fails."""


class Pace:
    """Spread messages evenly; 0 a minute is no limit. It counts within this process alone."""

    def __init__(self, per_minute: int) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._free_from = 0.0

    def wait(self, now: float) -> float:
        """Take the next turn; returns the seconds until it comes."""
        turn = max(now, self._free_from)
        self._free_from = turn + self._gap
        return turn - now


@dataclass(frozen=True)
class DeliveryContext:
    """What it takes to send notices, whichever they are."""

    ledger: Engine
    mailer: Mailer | None
    """None where no mail server is set up: the mails stay due."""
    templates: Templates
    branding: Branding
    policy: DeliveryPolicy
    signing_key: SigningKey | None = None
    per_minute: int = 0
    """Most notices sent a minute; 0 is no limit."""
    send_to_block: SendToBlock | None = None
    """Sends through a notification block; None where there is none to be had."""

    group: int = GROUP
    """Most notices that are leased, built and marked together; 1 makes each commit wait."""

    @property
    def lease_seconds(self) -> float:
        """Longer than a connection with all its exchanges may take."""
        return (self.mailer.patience if self.mailer else 0.0) + SPARE_SECONDS


def _attachments(delivery: DeliveryContext, notice: Notice) -> dict[str, bytes]:
    if notice.context.get("handover") != HandOver.ATTACHED:
        return {}
    facts = reports_of(delivery.ledger, notice.relocation_id).get(Task.COMPLETE)
    return {KIT: kit_archive(facts)} if facts else {}


def message_bytes(delivery: DeliveryContext, notice: Notice, now: datetime) -> bytes:
    """Return the bytes of a notice; raises NoticeError where they cannot be made."""
    context = {**notice.context, "relocation_id": notice.relocation_id}
    if notice.channel is Channel.BLOCK:
        rendered = render_notice(
            notice.kind,
            recipient=notice.recipient,
            context=context,
            branding=delivery.branding,
            templates=delivery.templates,
        )
        return f"{rendered.subject}\n\n{rendered.text}".encode()
    message = build_notice(
        notice.kind,
        recipient=notice.recipient,
        context=context,
        message_id=notice.message_id,
        date=now,
        branding=delivery.branding,
        templates=delivery.templates,
        in_reply_to=thread_of(delivery.ledger, notice) if notice.kind in _REPLIES else None,
        attachments=_attachments(delivery, notice),
    )
    wire = wire_bytes(message)
    return delivery.signing_key.signed(wire) if delivery.signing_key else wire

"""Work through the outbox: build, send, record the outcome."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Engine

from relocation.delivery.smtp import Mailer, Outcome
from relocation.delivery.throttle import Pace
from relocation.handover import KIT, kit_archive
from relocation.ledger.digests import gather_digests
from relocation.ledger.dispatch import (
    ClaimLostError,
    Terms,
    claim_due,
    finish,
    mark_sending,
    release_expired,
)
from relocation.ledger.dispatch import Outcome as RecordedOutcome
from relocation.ledger.outbox import Notice, thread_of
from relocation.ledger.reports import reports_of
from relocation.ledger.tables import NoticeState, utc_now
from relocation.notices.building import Branding, NoticeError, build_notice, render_notice
from relocation.notices.kinds import Channel, NoticeKind
from relocation.notices.rendering import Templates
from relocation.notices.signing import SigningKey
from relocation.notices.success import HandOver
from relocation.notices.wire import mail_address, wire_bytes
from relocation.steps import Task

SPARE_SECONDS = 120.0
"""How much longer than the mail server may take the lease of a notice is: it may wait its turn."""

_REPLIES = frozenset({NoticeKind.FAILED, NoticeKind.SUCCEEDED, NoticeKind.CANCELLED})
"""Kinds that go into the thread of the STARTED notice."""

TellBlock = Callable[[str, str, str], object]
"""Sends subject and text through the block of this type/name; raises where that fails."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeliveryReport:
    """How many notices were sent, wait for another attempt, were given up, are uncertain."""

    sent: int = 0
    retry: int = 0
    """Those that cannot be built are among them: they wait until that is mended."""
    failed: int = 0
    unknown: int = 0

    def __add__(self, other: "DeliveryReport") -> "DeliveryReport":
        return DeliveryReport(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )


@dataclass(frozen=True)
class Post:
    """What it takes to send notices, whichever they are."""

    ledger: Engine
    mailer: Mailer | None
    """None where no mail server is set up: the mails stay due."""
    templates: Templates
    branding: Branding
    terms: Terms
    signing_key: SigningKey | None = None
    per_minute: int = 0
    """Most notices sent a minute; 0 is no limit."""
    tell_block: TellBlock | None = None
    """Sends through a notification block; None where there is none to be had."""

    @property
    def lease_seconds(self) -> float:
        """Longer than a connection with all its exchanges may take."""
        return (self.mailer.patience if self.mailer else 0.0) + SPARE_SECONDS


def deliver_due(
    post: Post,
    *,
    claimed_by: str,
    relocation_id: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> DeliveryReport:
    """Send each due notice once, of one relocation or of all; safe to run several times at once.

    Mails end early where the mail server is not there: the rest stays due. A notice that cannot be
    built waits until that is fixed and does not stop the others. Raises only for the ledger. In
    place of the reference's `get_built_messages`.
    """
    release_expired(post.ledger, post.terms, now=now())
    gather_digests(post.ledger, post.terms.sender_domain, now=now())
    report = DeliveryReport()
    # Blocks first: what they tell may be that no mail can be sent.
    for channel, able in ((Channel.BLOCK, post.tell_block), (Channel.MAIL, post.mailer)):
        if able is not None:
            report += _deliver(post, channel, claimed_by, relocation_id, now)
    return report


def _deliver(
    post: Post,
    channel: Channel,
    claimed_by: str,
    relocation_id: str | None,
    now: Callable[[], datetime],
) -> DeliveryReport:
    counts: Counter[str] = Counter()
    pace = Pace(post.per_minute)
    while notice := claim_due(
        post.ledger,
        claimed_by=claimed_by,
        lease_seconds=post.lease_seconds,
        now=now(),
        relocation_id=relocation_id,
        channel=channel,
    ):
        time.sleep(pace.wait(time.monotonic()))
        try:
            became, outcome = _attempt(post, notice, now)
            state = finish(post.ledger, notice, became, outcome.detail, post.terms, now=now())
        except ClaimLostError as err:
            _log.warning("Notice %d went to another process: %s", notice.id, err.internal)
            continue
        counts["failed" if state is NoticeState.FAILED else outcome.state] += 1
        _log.info(
            "%s notice %d of relocation %s: %s (%s)",
            notice.kind,
            notice.id,
            notice.relocation_id,
            state,
            outcome.code,
        )
        if not outcome.connected:
            _log.warning("The mail server is not there: %s", outcome.code or outcome.detail)
            break
    return DeliveryReport(**counts)


def _attempt(
    post: Post, notice: Notice, now: Callable[[], datetime]
) -> tuple[RecordedOutcome, Outcome]:
    """Build the notice unless its bytes are kept, then send it; raises ClaimLostError."""
    if notice.channel is Channel.MAIL:
        try:
            mail_address(notice.recipient)
        except ValueError as err:
            return "failed", Outcome("failed", detail=str(err))
    try:
        wire = notice.wire or _built(post, notice, now())
    except NoticeError as err:
        # The error may quote an address: it goes to the ledger alone.
        _log.warning("Notice %d of relocation %s cannot be built", notice.id, notice.relocation_id)
        return "unbuildable", Outcome("retry", detail=err.internal)

    def before_data() -> None:
        mark_sending(post.ledger, notice, wire, lease_seconds=post.lease_seconds, now=now())

    if notice.channel is Channel.BLOCK:
        outcome = _tell(post, notice.recipient, wire, before_data)
    else:
        assert post.mailer is not None  # noqa: S101 - no mail is claimed without one
        recipient = mail_address(notice.recipient).addr_spec
        outcome = post.mailer.send(recipient, wire, before_data=before_data)
    return ("ours" if outcome.ours else outcome.state), outcome


def _tell(post: Post, block: str, wire: bytes, before_sending: Callable[[], None]) -> Outcome:
    """Send a text through a block; what it raises is a fault of ours, and its words are secret."""
    assert post.tell_block is not None  # noqa: S101 - nothing of this channel is claimed without it
    subject, _, body = wire.decode().partition("\n\n")
    before_sending()
    try:
        post.tell_block(block, subject, body)
    except Exception as err:  # noqa: BLE001 - each kind of block has errors of its own
        _log.warning("The notification block %s did not take a notice", block)
        return Outcome("retry", detail=type(err).__name__, ours=True)
    return Outcome("sent")


def _attachments(post: Post, notice: Notice) -> dict[str, bytes]:
    if notice.context.get("handover") != HandOver.ATTACHED:
        return {}
    facts = reports_of(post.ledger, notice.relocation_id).get(Task.COMPLETE)
    return {KIT: kit_archive(facts)} if facts else {}


def _built(post: Post, notice: Notice, now: datetime) -> bytes:
    context = {**notice.context, "relocation_id": notice.relocation_id}
    if notice.channel is Channel.BLOCK:
        rendered = render_notice(
            notice.kind,
            recipient=notice.recipient,
            context=context,
            branding=post.branding,
            templates=post.templates,
        )
        return f"{rendered.subject}\n\n{rendered.text}".encode()
    message = build_notice(
        notice.kind,
        recipient=notice.recipient,
        context=context,
        message_id=notice.message_id,
        date=now,
        branding=post.branding,
        templates=post.templates,
        in_reply_to=thread_of(post.ledger, notice) if notice.kind in _REPLIES else None,
        attachments=_attachments(post, notice),
    )
    wire = wire_bytes(message)
    return post.signing_key.signed(wire) if post.signing_key else wire

"""Work through the outbox: build, send, record the outcome."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from relocation.delivery.smtp import Mailer, Outcome
from relocation.delivery.throttle import Pace
from relocation.handover import KIT, kit_archive
from relocation.ledger.dispatch import (
    ClaimLostError,
    Terms,
    claim_due,
    finish,
    mark_sending,
    release_expired,
)
from relocation.ledger.outbox import Notice, thread_of
from relocation.ledger.reports import reports_of
from relocation.ledger.tables import NoticeState, utc_now
from relocation.notices.building import Branding, NoticeError, build_notice
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates
from relocation.notices.signing import SigningKey
from relocation.notices.success import HandOver
from relocation.notices.wire import mail_address, wire_bytes
from relocation.steps import Task

SPARE_SECONDS = 120.0
"""How much longer than the mail server may take the lease of a notice is: it may wait its turn."""

_REPLIES = frozenset({NoticeKind.FAILED, NoticeKind.SUCCEEDED, NoticeKind.CANCELLED})
"""Kinds that go into the thread of the STARTED notice."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeliveryReport:
    """How many notices were sent, wait for another attempt, were given up, are uncertain."""

    sent: int = 0
    retry: int = 0
    failed: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class Post:
    """What it takes to send notices, whichever they are."""

    ledger: Engine
    mailer: Mailer
    templates: Templates
    branding: Branding
    terms: Terms
    signing_key: SigningKey | None = None
    per_minute: int = 0
    """Most notices sent a minute; 0 is no limit."""

    @property
    def lease_seconds(self) -> float:
        """Longer than a connection with all its exchanges may take."""
        return self.mailer.patience + SPARE_SECONDS


def deliver_due(
    post: Post,
    *,
    claimed_by: str,
    relocation_id: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> DeliveryReport:
    """Send each due notice once, of one relocation or of all; safe to run several times at once.

    Ends early where the mail server is not there: the rest stays due. A notice that cannot be built
    is given up and does not stop the others. Raises only for the ledger.
    """
    counts: Counter[str] = Counter()
    pace = Pace(post.per_minute)
    release_expired(post.ledger, post.terms, now=now())
    while notice := claim_due(
        post.ledger,
        claimed_by=claimed_by,
        lease_seconds=post.lease_seconds,
        now=now(),
        relocation_id=relocation_id,
    ):
        time.sleep(pace.wait(time.monotonic()))
        try:
            outcome = _attempt(post, notice, now)
            state = finish(
                post.ledger, notice, outcome.state, outcome.detail, post.terms, now=now()
            )
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


def _attempt(post: Post, notice: Notice, now: Callable[[], datetime]) -> Outcome:
    """Build the notice unless its bytes are kept, then send it; raises ClaimLostError."""
    try:
        wire = notice.wire or _built(post, notice, now())
        recipient = mail_address(notice.recipient).addr_spec
    except (NoticeError, ValueError) as err:
        # The error may quote an address: it goes to the ledger alone.
        _log.warning("Notice %d of relocation %s cannot be built", notice.id, notice.relocation_id)
        return Outcome("failed", detail=err.internal if isinstance(err, NoticeError) else str(err))

    def before_data() -> None:
        mark_sending(post.ledger, notice, wire, lease_seconds=post.lease_seconds, now=now())

    return post.mailer.send(recipient, wire, before_data=before_data)


def _attachments(post: Post, notice: Notice) -> dict[str, bytes]:
    if notice.context.get("handover") != HandOver.ATTACHED:
        return {}
    facts = reports_of(post.ledger, notice.relocation_id).get(Task.COMPLETE)
    return {KIT: kit_archive(facts)} if facts else {}


def _built(post: Post, notice: Notice, now: datetime) -> bytes:
    message = build_notice(
        notice.kind,
        recipient=notice.recipient,
        context={**notice.context, "relocation_id": notice.relocation_id},
        message_id=notice.message_id,
        date=now,
        branding=post.branding,
        templates=post.templates,
        in_reply_to=thread_of(post.ledger, notice) if notice.kind in _REPLIES else None,
        attachments=_attachments(post, notice),
    )
    wire = wire_bytes(message)
    return post.signing_key.signed(wire) if post.signing_key else wire

"""Work through the outbox: build, commit the bytes, send, record the outcome."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from relocation.ledger.outbox import (
    ClaimLostError,
    Notice,
    claim_due,
    finish,
    mark_sending,
    notices_of,
    store_wire,
)
from relocation.ledger.tables import NoticeState, utc_now
from relocation.notices.building import Branding, NoticeError, build_notice
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates
from relocation.notices.transport import Mailer, Outcome
from relocation.notices.wire import mail_address, wire_bytes

LEASE_SECONDS = 300.0
"""Longer than a connection with all its exchanges may take."""

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
class _Post:
    """What every notice of one run needs."""

    ledger: Engine
    mailer: Mailer
    templates: Templates
    branding: Branding
    lease_seconds: float
    now: Callable[[], datetime]


def deliver_due(
    engine: Engine,
    mailer: Mailer,
    templates: Templates,
    branding: Branding,
    *,
    claimed_by: str,
    relocation_id: str | None = None,
    now: Callable[[], datetime] = utc_now,
    lease_seconds: float = LEASE_SECONDS,
) -> DeliveryReport:
    """Send each due notice once, of one relocation or of all; safe to run several times at once.

    Ends early where the mail server is not there: the rest stays due. A notice that cannot be built
    is given up and does not stop the others. Raises only for the ledger.
    """
    post = _Post(engine, mailer, templates, branding, lease_seconds, now)
    counts: Counter[str] = Counter()
    while notice := claim_due(
        engine,
        claimed_by=claimed_by,
        lease_seconds=lease_seconds,
        now=now(),
        relocation_id=relocation_id,
    ):
        try:
            outcome = _attempt(post, notice)
            state = finish(engine, notice, outcome.state, outcome.detail, now())
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
            break
    return DeliveryReport(**counts)


def _attempt(post: _Post, notice: Notice) -> Outcome:
    """Build the notice unless its bytes are kept, then send it; raises ClaimLostError."""
    try:
        wire = notice.wire or store_wire(post.ledger, notice, _built(post, notice))
        recipient = mail_address(notice.recipient).addr_spec
    except (NoticeError, ValueError) as err:
        # The error may quote an address: it goes to the ledger alone.
        _log.warning("Notice %d of relocation %s cannot be built", notice.id, notice.relocation_id)
        return Outcome("failed", detail=err.internal if isinstance(err, NoticeError) else str(err))

    def before_data() -> None:
        mark_sending(post.ledger, notice, post.lease_seconds, post.now())

    return post.mailer.send(recipient, wire, before_data=before_data)


def _built(post: _Post, notice: Notice) -> bytes:
    message = build_notice(
        notice.kind,
        recipient=notice.recipient,
        context={**notice.context, "relocation_id": notice.relocation_id},
        message_id=notice.message_id,
        date=post.now(),
        branding=post.branding,
        templates=post.templates,
        in_reply_to=_thread(post.ledger, notice) if notice.kind in _REPLIES else None,
    )
    return wire_bytes(message)


def _thread(ledger: Engine, notice: Notice) -> str | None:
    """Return the id of the STARTED notice to the same address, if there is one (A-143)."""
    return next(
        (
            earlier.message_id
            for earlier in notices_of(ledger, notice.relocation_id)
            if earlier.kind is NoticeKind.STARTED
            and earlier.recipient.lower() == notice.recipient.lower()
        ),
        None,
    )

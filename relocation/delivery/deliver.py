"""Work through the outbox: build, send, record the outcome."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial

from relocation.delivery.context import SPARE_SECONDS, DeliveryContext, Pace, message_bytes
from relocation.delivery.smtp import Envelope, SendResult
from relocation.ledger.digests import gather_digests
from relocation.ledger.dispatch import (
    LeaseLostError,
    RecordedOutcome,
    finish,
    mark_sending,
    release_expired,
)
from relocation.ledger.groups import Relay, keep_bytes, lease_group, relaying, release, renew
from relocation.ledger.outbox import Notice
from relocation.ledger.tables import NoticeState
from relocation.notices.building import NoticeError
from relocation.notices.kinds import Channel
from relocation.notices.wire import bare_address

RENEWAL = timedelta(seconds=SPARE_SECONDS / 2)
"""After so long, what still waits in a group is leased for longer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeliveryReport:
    """How many notices were sent, wait for another attempt, were given up, are uncertain."""

    sent: int = 0
    retry: int = 0
    """Those that cannot be built are among them: they wait until that is fixed."""
    failed: int = 0
    unknown: int = 0

    def __add__(self, other: "DeliveryReport") -> "DeliveryReport":
        return DeliveryReport(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )


def deliver_due(
    context: DeliveryContext,
    *,
    worker: str,
    relocation_id: str | None = None,
    now: Callable[[], datetime],
) -> DeliveryReport:
    """Send each due notice once, of one relocation or of all; safe to run several times at once.

    Mails end early where the mail server is not there: the rest stays due. A notice that cannot be
    built waits until that is fixed and does not stop the others. Raises only for the ledger. In
    place of the reference's `get_built_messages`.
    """
    release_expired(context.ledger, context.policy, now=now())
    gather_digests(context.ledger, context.policy.sender_domain, now=now())
    report = DeliveryReport()
    # Blocks first: what they tell may be that no mail can be sent.
    for channel, able in ((Channel.BLOCK, context.send_to_block), (Channel.MAIL, context.mailer)):
        if able is not None:
            report += _Delivery(context, channel, now).run(worker, relocation_id)
    return report


class _Delivery:
    """Sends what is due of one channel: the first notice alone, then in groups while all is well.

    A group is only worth it for mails: a block is slower than any disk.
    """

    def __init__(
        self, context: DeliveryContext, channel: Channel, now: Callable[[], datetime]
    ) -> None:
        self._context = context
        self._channel = channel
        self._now = now
        self._pace = Pace(context.per_minute)
        self._counts: Counter[str] = Counter()
        in_half_a_minute = context.per_minute // 2 or 1 if context.per_minute else context.group
        self._group = min(context.group, in_half_a_minute) if channel is Channel.MAIL else 1

    def run(self, worker: str, relocation_id: str | None) -> DeliveryReport:
        """Send until nothing is due, or the mail server is not there."""
        most = 1
        while leased := lease_group(
            self._context.ledger,
            most=most,
            worker=worker,
            lease_seconds=self._context.lease_seconds,
            now=self._now(),
            relocation_id=relocation_id,
            channel=self._channel,
        ):
            go_on = self._send_group(leased) if len(leased) > 1 else self._send_one(leased[0])
            if not go_on:
                break
            most = self._group
        return DeliveryReport(**self._counts)

    def _send_one(self, notice: Notice) -> bool:
        """Send a notice by itself, each commit of it on the disk; says whether to go on."""
        time.sleep(self._pace.wait(time.monotonic()))
        prepared = self._prepared(notice)
        if prepared is None:
            return True
        to, wire = prepared

        def mark() -> None:
            lease = self._context.lease_seconds
            mark_sending(self._context.ledger, notice, wire, lease_seconds=lease, now=self._now())

        try:
            result = self._send(notice, to, wire, mark)
        except LeaseLostError as err:
            _log.warning("Notice %d went to another process: %s", notice.id, err.internal)
            return True
        self._finish(notice, "ours" if result.ours else result.state, result, wire)
        return _is_there(result)

    def _send_group(self, leased: list[Notice]) -> bool:
        """Send notices that were leased together; says whether to go on.

        Once the lease of one is lost, none after it is sent. What was not tried goes back, also
        where an error ends it.
        """
        ledger, lease = self._context.ledger, timedelta(seconds=self._context.lease_seconds)
        waiting = list(leased)
        renewal = self._now() + RENEWAL
        try:
            prepared = [(notice, self._prepared(notice)) for notice in leased]
            ready = [(notice, *message) for notice, message in prepared if message]
            waiting = [notice for notice, *_ in ready]
            keep_bytes(ledger, [(notice, wire) for notice, _, wire in ready if not notice.wire])
            with relaying(
                ledger, lease_seconds=self._context.lease_seconds, now=self._now
            ) as relay:
                for number, (notice, to, wire) in enumerate(ready, 1):
                    if wait := self._pace.wait(time.monotonic()):
                        relay.flush()
                        time.sleep(wait)
                    if self._now() >= renewal:
                        renew(ledger, waiting, self._now() + lease)
                        renewal = self._now() + RENEWAL
                    waiting.remove(notice)
                    then = (
                        None if self._context.per_minute else _envelope(ready[number : number + 1])
                    )
                    result = self._send(notice, to, wire, partial(relay.mark, notice), then)
                    self._record(relay, notice, result, wire)
                    if not _is_there(result):
                        return False
        except LeaseLostError as err:
            _log.warning("Notices went to another process: %s", err.internal)
        finally:
            release(ledger, waiting)
        return True

    def _record(self, relay: Relay, notice: Notice, result: SendResult, wire: bytes) -> None:
        if result.state == "sent":
            relay.sent(notice, result.detail)
            self._count(notice, NoticeState.SENT, result, wire)
        else:
            relay.flush()
            self._finish(notice, "ours" if result.ours else result.state, result, wire)

    def _prepared(self, notice: Notice) -> tuple[str, bytes] | None:
        """Return where to send what; None where it cannot be, and then that is recorded."""
        to = notice.recipient
        if notice.channel is Channel.MAIL:
            try:
                to = bare_address(notice.recipient)
            except ValueError as err:
                self._finish(notice, "failed", SendResult("failed", detail=str(err)))
                return None
        try:
            return to, notice.wire or message_bytes(self._context, notice, self._now())
        except NoticeError as err:
            # The error may quote an address: it goes to the ledger alone.
            _log.warning(
                "Notice %d of relocation %s cannot be built", notice.id, notice.relocation_id
            )
            self._finish(notice, "unbuildable", SendResult("retry", detail=err.internal))
            return None

    def _send(
        self,
        notice: Notice,
        to: str,
        wire: bytes,
        mark: Callable[[], None],
        then: Envelope | None = None,
    ) -> SendResult:
        """Hand the bytes over, after they are marked as being sent; raises LeaseLostError."""
        if notice.channel is Channel.BLOCK:
            return _tell(self._context, to, wire, mark)
        assert self._context.mailer is not None  # noqa: S101 - no mail is leased without one
        return self._context.mailer.send(to, wire, before_data=mark, then=then)

    def _finish(
        self, notice: Notice, outcome: RecordedOutcome, result: SendResult, wire: bytes = b""
    ) -> None:
        context = self._context
        try:
            state = finish(
                context.ledger, notice, outcome, result.detail, context.policy, now=self._now()
            )
        except LeaseLostError as err:
            _log.warning("Notice %d went to another process: %s", notice.id, err.internal)
        else:
            self._count(notice, state, result, wire)

    def _count(self, notice: Notice, state: NoticeState, result: SendResult, wire: bytes) -> None:
        self._counts["failed" if state is NoticeState.FAILED else result.state] += 1
        _log.info(
            "%s notice of relocation %s: %s, %d bytes, answer %s, Message-ID %s",
            notice.kind,
            notice.relocation_id,
            state,
            len(wire),
            result.code,
            notice.message_id,
        )


def _envelope(next_one: Sequence[tuple[Notice, str, bytes]]) -> Envelope | None:
    return (next_one[0][1], len(next_one[0][2])) if next_one else None


def _is_there(result: SendResult) -> bool:
    if not result.connected:
        _log.warning("The mail server is not there: %s", result.code or result.detail)
    return result.connected


def _tell(
    context: DeliveryContext, block: str, wire: bytes, before_sending: Callable[[], None]
) -> SendResult:
    """Send a text through a block; what it raises is a fault of ours, and its words are secret."""
    assert context.send_to_block is not None  # noqa: S101 - nothing of this channel is leased without it
    subject, _, body = wire.decode().partition("\n\n")
    before_sending()
    try:
        context.send_to_block(block, subject, body)
    except Exception as err:  # noqa: BLE001 - each kind of block has errors of its own
        _log.warning("The notification block %s did not take a notice", block)
        return SendResult("retry", detail=type(err).__name__, ours=True)
    return SendResult("sent")

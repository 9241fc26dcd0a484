"""Work through the outbox: build, send, record the outcome."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial

from relocation.delivery.post import SPARE_SECONDS, Post, built
from relocation.delivery.smtp import Envelope, Outcome
from relocation.delivery.throttle import Pace
from relocation.ledger.digests import gather_digests
from relocation.ledger.dispatch import ClaimLostError, finish, mark_sending, release_expired
from relocation.ledger.dispatch import Outcome as RecordedOutcome
from relocation.ledger.groups import Relay, claim_group, keep_bytes, relaying, release, renew
from relocation.ledger.outbox import Notice
from relocation.ledger.tables import NoticeState, utc_now
from relocation.notices.building import NoticeError
from relocation.notices.kinds import Channel
from relocation.notices.wire import bare_address

RENEWAL = timedelta(seconds=SPARE_SECONDS / 2)
"""After so long, what still waits in a group is claimed for longer."""

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
            report += _Delivery(post, channel, now).run(claimed_by, relocation_id)
    return report


class _Delivery:
    """Sends what is due of one channel: the first notice alone, then in groups while all is well.

    A group is only worth it for mails: a block is slower than any disk.
    """

    def __init__(self, post: Post, channel: Channel, now: Callable[[], datetime]) -> None:
        self._post = post
        self._channel = channel
        self._now = now
        self._pace = Pace(post.per_minute)
        self._counts: Counter[str] = Counter()
        in_half_a_minute = post.per_minute // 2 or 1 if post.per_minute else post.group
        self._group = min(post.group, in_half_a_minute) if channel is Channel.MAIL else 1

    def run(self, claimed_by: str, relocation_id: str | None) -> DeliveryReport:
        """Send until nothing is due, or the mail server is not there."""
        most = 1
        while claimed := claim_group(
            self._post.ledger,
            most=most,
            claimed_by=claimed_by,
            lease_seconds=self._post.lease_seconds,
            now=self._now(),
            relocation_id=relocation_id,
            channel=self._channel,
        ):
            go_on = self._send_group(claimed) if len(claimed) > 1 else self._send_one(claimed[0])
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
            lease = self._post.lease_seconds
            mark_sending(self._post.ledger, notice, wire, lease_seconds=lease, now=self._now())

        try:
            outcome = self._send(notice, to, wire, mark)
        except ClaimLostError as err:
            _log.warning("Notice %d went to another process: %s", notice.id, err.internal)
            return True
        self._finish(notice, "ours" if outcome.ours else outcome.state, outcome)
        return _is_there(outcome)

    def _send_group(self, claimed: list[Notice]) -> bool:
        """Send notices that were claimed together; says whether to go on.

        Once the claim of one is lost, none after it is sent. What was not tried goes back, also
        where an error ends it.
        """
        ledger, lease = self._post.ledger, timedelta(seconds=self._post.lease_seconds)
        waiting = list(claimed)
        renewal = self._now() + RENEWAL
        try:
            prepared = [(notice, self._prepared(notice)) for notice in claimed]
            ready = [(notice, *message) for notice, message in prepared if message]
            waiting = [notice for notice, *_ in ready]
            keep_bytes(ledger, [(notice, wire) for notice, _, wire in ready if not notice.wire])
            with relaying(ledger, lease_seconds=self._post.lease_seconds, now=self._now) as relay:
                for number, (notice, to, wire) in enumerate(ready, 1):
                    if wait := self._pace.wait(time.monotonic()):
                        relay.flush()
                        time.sleep(wait)
                    if self._now() >= renewal:
                        renew(ledger, waiting, self._now() + lease)
                        renewal = self._now() + RENEWAL
                    waiting.remove(notice)
                    then = None if self._post.per_minute else _envelope(ready[number : number + 1])
                    outcome = self._send(notice, to, wire, partial(relay.mark, notice), then)
                    self._record(relay, notice, outcome)
                    if not _is_there(outcome):
                        return False
        except ClaimLostError as err:
            _log.warning("Notices went to another process: %s", err.internal)
        finally:
            release(ledger, waiting)
        return True

    def _record(self, relay: Relay, notice: Notice, outcome: Outcome) -> None:
        if outcome.state == "sent":
            relay.sent(notice, outcome.detail)
            self._count(notice, NoticeState.SENT, outcome)
        else:
            relay.flush()
            self._finish(notice, "ours" if outcome.ours else outcome.state, outcome)

    def _prepared(self, notice: Notice) -> tuple[str, bytes] | None:
        """Return where to send what; None where it cannot be, and then that is recorded."""
        to = notice.recipient
        if notice.channel is Channel.MAIL:
            try:
                to = bare_address(notice.recipient)
            except ValueError as err:
                self._finish(notice, "failed", Outcome("failed", detail=str(err)))
                return None
        try:
            return to, notice.wire or built(self._post, notice, self._now())
        except NoticeError as err:
            # The error may quote an address: it goes to the ledger alone.
            _log.warning(
                "Notice %d of relocation %s cannot be built", notice.id, notice.relocation_id
            )
            self._finish(notice, "unbuildable", Outcome("retry", detail=err.internal))
            return None

    def _send(
        self,
        notice: Notice,
        to: str,
        wire: bytes,
        mark: Callable[[], None],
        then: Envelope | None = None,
    ) -> Outcome:
        """Hand the bytes over, after they are marked as being sent; raises ClaimLostError."""
        if notice.channel is Channel.BLOCK:
            return _tell(self._post, to, wire, mark)
        assert self._post.mailer is not None  # noqa: S101 - no mail is claimed without one
        return self._post.mailer.send(to, wire, before_data=mark, then=then)

    def _finish(self, notice: Notice, became: RecordedOutcome, outcome: Outcome) -> None:
        post = self._post
        try:
            state = finish(post.ledger, notice, became, outcome.detail, post.terms, now=self._now())
        except ClaimLostError as err:
            _log.warning("Notice %d went to another process: %s", notice.id, err.internal)
        else:
            self._count(notice, state, outcome)

    def _count(self, notice: Notice, state: NoticeState, outcome: Outcome) -> None:
        self._counts["failed" if state is NoticeState.FAILED else outcome.state] += 1
        _log.info(
            "%s notice %d of relocation %s: %s (%s)",
            notice.kind,
            notice.id,
            notice.relocation_id,
            state,
            outcome.code,
        )


def _envelope(next_one: Sequence[tuple[Notice, str, bytes]]) -> Envelope | None:
    return (next_one[0][1], len(next_one[0][2])) if next_one else None


def _is_there(outcome: Outcome) -> bool:
    if not outcome.connected:
        _log.warning("The mail server is not there: %s", outcome.code or outcome.detail)
    return outcome.connected


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

"""Every notice goes out once as far as SMTP allows, and none is lost."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from relocation.ledger.holds import Hold
from relocation.ledger.outbox import (
    GIVE_UP_AFTER,
    JITTER,
    RETRY_AFTER,
    ClaimLostError,
    Notice,
    claim_due,
    enqueue,
    finish,
    mark_sending,
    notices_of,
    store_wire,
)
from relocation.ledger.tables import NoticeState
from relocation.notices.kinds import PER_ROUND, Draft, NoticeKind

LEASE = 60.0
MINUTE = timedelta(minutes=1)
STARTED = Draft(NoticeKind.STARTED, "olivia@example.org", {"owner": "olivia"})
FAILED = Draft(NoticeKind.FAILED, "olivia@example.org")


def _enqueue(ledger: Engine, drafts: Sequence[Draft], now: datetime, round_: int = 1) -> int:
    with ledger.begin() as connection:
        return enqueue(connection, "r-1", round_, drafts, sender_domain="example.org", now=now)


def _claim(ledger: Engine, now: datetime, by: str = "a:1") -> Notice:
    notice = claim_due(ledger, claimed_by=by, lease_seconds=LEASE, now=now)
    assert notice is not None
    return notice


def _nothing_due(ledger: Engine, now: datetime) -> bool:
    return claim_due(ledger, claimed_by="a:1", lease_seconds=LEASE, now=now) is None


def _states(ledger: Engine) -> list[NoticeState]:
    return [notice.state for notice in notices_of(ledger, "r-1")]


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_is_put_into_the_outbox_once(
    ledger: Engine, hold: Hold, now: datetime, kind: NoticeKind
) -> None:
    """B-3, W-41: a retry adds none; a new round adds one of the kinds that are told by round."""
    draft = Draft(kind, "olivia@example.org", about="olivia")
    assert _enqueue(ledger, [draft, draft], now) == 1
    assert _enqueue(ledger, [draft], now) == 0
    assert _enqueue(ledger, [draft], now, round_=2) == (1 if kind in PER_ROUND else 0)


def test_claims_of_two_users_with_one_address_are_two_notices(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    claims = [Draft(NoticeKind.CLAIM, "shared@example.org", about=name) for name in ("a", "b")]
    assert _enqueue(ledger, claims, now) == 2


def test_message_ids_are_unique_and_at_the_domain_of_the_sender(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    ids = [notice.message_id for notice in notices_of(ledger, "r-1")]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"<[0-9a-f]{32}@example\.org>", id_) for id_ in ids)


def test_a_notice_comes_back_as_it_was_put_in(ledger: Engine, hold: Hold, now: datetime) -> None:
    draft = Draft(NoticeKind.CLAIM, "Mia@example.org", {"nested": [1, {"ü": None}]}, about="mia")
    _enqueue(ledger, [draft], now)
    notice = _claim(ledger, now)
    assert (notice.kind, notice.recipient, notice.about) == (draft.kind, draft.recipient, "mia")
    assert notice.context == draft.context
    assert (notice.relocation_id, notice.round, notice.wire) == ("r-1", 1, None)
    assert (notice.state, notice.tries, notice.claimed_by) == (NoticeState.CLAIMED, 1, "a:1")


def test_a_notice_prints_no_address_and_no_content(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    draft = Draft(NoticeKind.CLAIM, "mia@mail.test", {"claim_url": "s3cr3t"}, about="mia-name")
    _enqueue(ledger, [draft], now)
    printed = repr(_claim(ledger, now))
    assert "mail.test" not in printed
    assert "s3cr3t" not in printed
    assert "mia-name" not in printed


def test_a_claimed_notice_is_not_claimed_again(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now)
    assert _nothing_due(ledger, now + timedelta(seconds=LEASE - 1))


def test_many_workers_claim_each_notice_once(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [Draft(NoticeKind.CLAIM, f"{n}@example.org") for n in range(12)], now)

    def work(worker: int) -> list[int]:
        claimed = []
        while notice := claim_due(ledger, claimed_by=f"w:{worker}", lease_seconds=LEASE, now=now):
            claimed.append(notice.id)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        ids = [id_ for claimed in pool.map(work, range(4)) for id_ in claimed]
    assert len(ids) == 12
    assert len(set(ids)) == 12


def test_only_the_notices_of_one_relocation_are_claimed_when_asked(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    other = claim_due(ledger, claimed_by="a:1", lease_seconds=LEASE, now=now, relocation_id="r-2")
    assert other is None
    assert claim_due(ledger, claimed_by="a:1", lease_seconds=LEASE, now=now, relocation_id="r-1")


@pytest.mark.parametrize("waiting", ["queued", "claimed", "sending", "retry"])
def test_a_notice_waits_for_an_earlier_one_to_the_same_person(
    ledger: Engine, hold: Hold, now: datetime, waiting: str
) -> None:
    shouted = Draft(NoticeKind.FAILED, FAILED.recipient.upper())
    _enqueue(ledger, [STARTED, shouted], now)
    first = _claim(ledger, now)
    assert first.kind is NoticeKind.STARTED
    if waiting == "sending":
        mark_sending(ledger, first, LEASE, now)
    elif waiting == "retry":
        finish(ledger, first, "retry", "450 later", now)
    elif waiting == "queued":
        now += timedelta(seconds=LEASE)  # its lease runs out, and it is claimed first again
        assert _claim(ledger, now).id == first.id
    assert _nothing_due(ledger, now)


@pytest.mark.parametrize("outcome", ["sent", "failed"])
def test_a_notice_goes_on_when_the_earlier_one_is_sent_or_given_up(
    ledger: Engine, hold: Hold, now: datetime, outcome: str
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    first = _claim(ledger, now)
    mark_sending(ledger, first, LEASE, now)
    finish(ledger, first, "sent" if outcome == "sent" else "failed", "done", now)
    assert _claim(ledger, now).kind is NoticeKind.FAILED


def test_another_person_does_not_wait(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED, Draft(NoticeKind.STARTED, "carl@example.org")], now)
    _claim(ledger, now)
    assert _claim(ledger, now).recipient == "carl@example.org"


def test_the_first_bytes_stored_are_the_message_for_ever(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    first = _claim(ledger, now)
    assert store_wire(ledger, first, b"\x00one\r\n") == b"\x00one\r\n"
    later = now + timedelta(seconds=LEASE)
    second = _claim(ledger, later)
    assert second.wire == b"\x00one\r\n"
    assert store_wire(ledger, second, b"two") == b"\x00one\r\n"


def test_a_lost_claim_stores_nothing_and_sends_nothing(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    lost = _claim(ledger, now, by="a:1")
    later = now + timedelta(seconds=LEASE)
    mine = _claim(ledger, later, by="a:1")  # the same worker's name does not make it the same claim
    with pytest.raises(ClaimLostError):
        store_wire(ledger, lost, b"late")
    with pytest.raises(ClaimLostError):
        mark_sending(ledger, lost, LEASE, later)
    with pytest.raises(ClaimLostError):
        finish(ledger, lost, "failed", "late", later)
    assert store_wire(ledger, mine, b"mine") == b"mine"
    mark_sending(ledger, mine, LEASE, later)
    assert _states(ledger) == [NoticeState.SENDING]


def test_a_message_is_handed_over_once_a_claim(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    notice = _claim(ledger, now)
    mark_sending(ledger, notice, LEASE, now)
    with pytest.raises(ClaimLostError):
        mark_sending(ledger, notice, LEASE, now)


def test_a_sent_notice_is_done_with(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    notice = _claim(ledger, now)
    mark_sending(ledger, notice, LEASE, now)
    assert finish(ledger, notice, "sent", "250 queued as A1", now) is NoticeState.SENT
    (sent,) = notices_of(ledger, "r-1")
    assert (sent.sent_at, sent.reply, sent.claimed_by) == (now, "250 queued as A1", None)
    assert _nothing_due(ledger, now + timedelta(days=9))
    with pytest.raises(ClaimLostError):
        finish(ledger, notice, "retry", "", now)
    assert _states(ledger) == [NoticeState.SENT]


def test_a_refused_notice_is_not_tried_again(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    assert finish(ledger, _claim(ledger, now), "failed", "550 no" * 999, now) is NoticeState.FAILED
    (failed,) = notices_of(ledger, "r-1")
    assert failed.reply is not None
    assert len(failed.reply) <= 1000
    assert _nothing_due(ledger, now + timedelta(days=9))


def test_the_waits_between_tries_grow_and_vary_a_little(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    for wait in (*RETRY_AFTER, RETRY_AFTER[-1]):
        assert finish(ledger, _claim(ledger, now), "retry", "450", now) is NoticeState.QUEUED
        assert _nothing_due(ledger, now + wait - timedelta(seconds=1))
        now += wait * (1 + JITTER)
    assert _claim(ledger, now).tries == 6


def test_a_notice_is_given_up_after_two_days(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    late = now + GIVE_UP_AFTER
    assert finish(ledger, _claim(ledger, late - MINUTE), "retry", "", late - MINUTE) == "queued"
    late += timedelta(hours=2)
    assert finish(ledger, _claim(ledger, late), "retry", "450 still", late) is NoticeState.FAILED
    assert _nothing_due(ledger, late + timedelta(days=9))


def test_a_notice_that_nobody_could_try_in_time_is_tried_all_the_same(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    assert _claim(ledger, now + 2 * GIVE_UP_AFTER).kind is NoticeKind.STARTED


def test_a_notice_that_keeps_killing_its_worker_is_given_up_too(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now + GIVE_UP_AFTER)
    assert _nothing_due(ledger, now + GIVE_UP_AFTER + timedelta(seconds=LEASE))
    assert _states(ledger) == [NoticeState.FAILED]


def test_a_worker_that_died_before_handing_over_costs_nothing(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now)
    again = _claim(ledger, now + timedelta(seconds=LEASE), by="b:2")
    assert (again.tries, again.ambiguous, again.claimed_by) == (2, 0, "b:2")


@pytest.mark.parametrize("how", ["lease", "outcome"])
def test_a_notice_in_doubt_is_sent_once_more_and_no_more(
    ledger: Engine, hold: Hold, now: datetime, how: str
) -> None:
    """A duplicate beats a loss, once: notes/email.md, section 6."""
    _enqueue(ledger, [STARTED], now)
    for doubt in (1, 2):
        notice = _claim(ledger, now)
        assert notice.tries == doubt
        mark_sending(ledger, notice, LEASE, now)
        if how == "outcome":
            finish(ledger, notice, "unknown", "connection lost", now)
        now += timedelta(hours=2)
    assert _nothing_due(ledger, now)
    assert _states(ledger) == [NoticeState.UNKNOWN]


def test_a_notice_that_arrived_after_its_lease_is_not_sent_again(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    notice = _claim(ledger, now)
    mark_sending(ledger, notice, LEASE, now)
    later = now + timedelta(seconds=LEASE)
    absent = claim_due(
        ledger, claimed_by="b:2", lease_seconds=LEASE, now=later, relocation_id="r-2"
    )
    assert absent is None
    assert _states(ledger)[0] is NoticeState.QUEUED  # its lease ran out
    finish(ledger, notice, "sent", "250", later)
    assert _claim(ledger, later).kind is NoticeKind.FAILED

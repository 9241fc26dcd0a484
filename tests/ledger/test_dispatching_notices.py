"""Every notice goes out once as far as SMTP allows, and none is lost."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from ledgers import at
from sqlalchemy import Connection, Engine, event, text

from relocation.ledger.dispatch import (
    JITTER,
    MOST_REFUSALS,
    RETRY_AFTER,
    DeliveryPolicy,
    LeaseLostError,
    RecordedOutcome,
    finish,
    lease_due,
    mark_sending,
    overdue,
    release_expired,
)
from relocation.ledger.holds import Hold, open_relocation
from relocation.ledger.outbox import Notice, enqueue, notices_of
from relocation.ledger.tables import NoticeState
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.request import RelocationRequest

LEASE = 60.0
MINUTE = timedelta(minutes=1)
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True)
STARTED = NoticeDraft(NoticeKind.STARTED, "olivia@example.org", {"owner": "olivia"})
FAILED = NoticeDraft(NoticeKind.FAILED, "olivia@example.org")


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on each database."""
    return either_ledger


def _enqueue(ledger: Engine, drafts: Sequence[NoticeDraft], now: datetime, round_: int = 1) -> int:
    with ledger.begin() as connection:
        return enqueue(connection, "r-1", round_, drafts, sender_domain="example.org", now=now)


def _next(ledger: Engine, now: datetime, by: str = "a:1") -> Notice | None:
    release_expired(ledger, POLICY, now=now)
    return lease_due(ledger, worker=by, lease_seconds=LEASE, now=now)


def _claim(ledger: Engine, now: datetime, by: str = "a:1") -> Notice:
    notice = _next(ledger, now, by)
    assert notice is not None
    return notice


def _nothing_due(ledger: Engine, now: datetime) -> bool:
    return _next(ledger, now) is None


def _states(ledger: Engine) -> list[NoticeState]:
    return [notice.state for notice in notices_of(ledger, "r-1")]


def _after_lease(ledger: Engine, now: datetime) -> datetime:
    """Let the leases run out; returns when what was claimed is due again."""
    now += timedelta(seconds=LEASE)
    assert release_expired(ledger, POLICY, now=now) == 1
    return now + timedelta(hours=2)


def _hand_over(ledger: Engine, notice: Notice, now: datetime) -> None:
    mark_sending(ledger, notice, b"Subject: x\r\n", lease_seconds=LEASE, now=now)


def test_a_leased_notice_is_not_leased_again(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now)
    assert _nothing_due(ledger, now + timedelta(seconds=LEASE - 1))


def test_many_workers_claim_each_notice_once(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org") for n in range(12)], now)

    def work(worker: int) -> list[int]:
        claimed = []
        while notice := lease_due(ledger, worker=f"w:{worker}", lease_seconds=LEASE, now=now):
            claimed.append(notice.id)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        ids = [id_ for claimed in pool.map(work, range(4)) for id_ in claimed]
    assert len(ids) == 12
    assert len(set(ids)) == 12


def test_only_the_notices_of_one_relocation_are_leased_when_asked(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    other = lease_due(ledger, worker="a:1", lease_seconds=LEASE, now=now, relocation_id="r-2")
    assert other is None
    assert lease_due(ledger, worker="a:1", lease_seconds=LEASE, now=now, relocation_id="r-1")


@pytest.mark.parametrize("waiting", ["queued", "claimed", "sending", "retry"])
def test_a_notice_waits_for_an_earlier_one_to_the_same_person(
    ledger: Engine, hold: Hold, now: datetime, waiting: str
) -> None:
    shouted = NoticeDraft(NoticeKind.FAILED, FAILED.recipient.upper())
    _enqueue(ledger, [STARTED, shouted], now)
    first = _claim(ledger, now)
    assert first.kind is NoticeKind.STARTED
    if waiting == "sending":
        _hand_over(ledger, first, now)
    elif waiting == "retry":
        finish(ledger, first, "retry", "450 later", POLICY, now=now)
    elif waiting == "queued":
        now += timedelta(seconds=LEASE)
        release_expired(ledger, POLICY, now=now)
    assert _nothing_due(ledger, now)


@pytest.mark.parametrize("outcome", ["sent", "failed"])
def test_a_notice_goes_on_when_the_earlier_one_is_sent_or_given_up(
    ledger: Engine, hold: Hold, now: datetime, outcome: str
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    first = _claim(ledger, now)
    _hand_over(ledger, first, now)
    finish(ledger, first, "sent" if outcome == "sent" else "failed", "done", POLICY, now=now)
    assert _claim(ledger, now).kind is NoticeKind.FAILED


def test_another_person_does_not_wait(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED, NoticeDraft(NoticeKind.STARTED, "carl@example.org")], now)
    _claim(ledger, now)
    assert _claim(ledger, now).recipient == "carl@example.org"


def test_the_first_bytes_handed_over_are_the_message_for_ever(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    first = _claim(ledger, now)
    mark_sending(ledger, first, b"\x00one\r\n", lease_seconds=LEASE, now=now)
    later = _after_lease(ledger, now)
    second = _claim(ledger, later)
    assert second.wire == b"\x00one\r\n"
    mark_sending(ledger, second, b"two", lease_seconds=LEASE, now=later)
    assert [notice.wire for notice in notices_of(ledger, "r-1")] == [b"\x00one\r\n"]


def test_a_lost_claim_hands_nothing_over_and_finishes_nothing(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    lost = _claim(ledger, now, by="a:1")
    later = _after_lease(ledger, now)
    mine = _claim(ledger, later, by="a:1")  # the same worker's name does not make it the same claim
    with pytest.raises(LeaseLostError):
        _hand_over(ledger, lost, later)
    with pytest.raises(LeaseLostError):
        finish(ledger, lost, "failed", "late", POLICY, now=later)
    _hand_over(ledger, mine, later)
    assert _states(ledger) == [NoticeState.SENDING]


def test_a_message_is_handed_over_once_a_claim(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    notice = _claim(ledger, now)
    _hand_over(ledger, notice, now)
    with pytest.raises(LeaseLostError):
        _hand_over(ledger, notice, now)


def test_a_sent_notice_is_done_with(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    notice = _claim(ledger, now)
    _hand_over(ledger, notice, now)
    assert finish(ledger, notice, "sent", "250 queued as A1", POLICY, now=now) is NoticeState.SENT
    (sent,) = notices_of(ledger, "r-1")
    assert (sent.sent_at, sent.reply, sent.claimed_by) == (now, "250 queued as A1", None)
    assert _nothing_due(ledger, now + timedelta(days=9))
    with pytest.raises(LeaseLostError):
        finish(ledger, notice, "retry", "", POLICY, now=now)
    assert _states(ledger) == [NoticeState.SENT]


def test_a_refused_notice_is_not_tried_again(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    notice = _claim(ledger, now)
    assert finish(ledger, notice, "failed", "550 no" * 999, POLICY, now=now) is NoticeState.FAILED
    failed = notices_of(ledger, "r-1")[0]
    assert failed.reply is not None
    assert len(failed.reply) <= 1000
    assert _claim(ledger, now + timedelta(days=9)).kind is NoticeKind.OPERATOR
    assert _nothing_due(ledger, now + timedelta(days=9))


def test_the_waits_between_tries_grow_and_vary_a_little(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    for wait in (*RETRY_AFTER, RETRY_AFTER[-1]):
        assert (
            finish(ledger, _claim(ledger, now), "retry", "450", POLICY, now=now)
            is NoticeState.QUEUED
        )
        assert _nothing_due(ledger, now + wait - timedelta(seconds=1))
        now += wait * (1 + JITTER)
    assert _claim(ledger, now).tries == 6


def _refused_so_often(ledger: Engine, times: int) -> None:
    """Let every notice have been refused before."""
    with ledger.begin() as connection:
        connection.execute(text("UPDATE notice SET refusals = :times"), {"times": times})


def test_a_notice_that_is_refused_for_two_days_is_given_up(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    begun = now
    while True:
        state = finish(ledger, _claim(ledger, now), "retry", "450 still", POLICY, now=now)
        if state is NoticeState.FAILED:
            break
        assert now - begun < timedelta(days=3)
        now += timedelta(hours=1) * (1 + JITTER)
    assert notices_of(ledger, "r-1")[0].refusals == MOST_REFUSALS
    waits = sum((RETRY_AFTER[min(n, 3)] for n in range(MOST_REFUSALS - 1)), timedelta())
    assert timedelta(hours=48) <= waits <= timedelta(hours=50)


def test_an_outage_of_ours_uses_up_no_patience_with_a_notice(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A mail server that is away for two days must not destroy the links of two thousand people."""
    _enqueue(ledger, [CLAIM], now)
    _refused_so_often(ledger, MOST_REFUSALS - 1)
    for _ in range(100):
        notice = _claim(ledger, now)
        assert finish(ledger, notice, "ours", "refused", POLICY, now=now) is NoticeState.QUEUED
        now += timedelta(hours=1)
    # Back again, and greylisted at first: it is no older than any new one.
    again = _claim(ledger, now)
    assert finish(ledger, again, "retry", "450 wait", POLICY, now=now) is NoticeState.QUEUED
    assert notices_of(ledger, "r-1")[0].context == CLAIM.context
    assert not _told(ledger)


def test_what_failed_for_a_fault_of_ours_is_tried_again_at_the_next_sweep(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    for _ in range(6):
        finish(ledger, _claim(ledger, now), "ours", "refused", POLICY, now=now)
        now += timedelta(minutes=5)
    assert _claim(ledger, now).tries == 7


def test_a_notice_that_cannot_be_built_waits_keeps_nobody_waiting_and_is_told_once(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    for _ in range(60):
        notice = _claim(ledger, now)
        finish(ledger, notice, "unbuildable", "no such variable", POLICY, now=now)
        now += timedelta(hours=2)
        if told := _told(ledger):
            assert [one.context["waits"] for one in told] == [True]
            if told[0].state is NoticeState.QUEUED:
                finish(ledger, _claim_kind(ledger, now, "OPERATOR"), "sent", "", POLICY, now=now)
    assert _states(ledger) == [NoticeState.QUEUED, NoticeState.SENT]
    _enqueue(ledger, [FAILED], now)
    kinds = {_claim(ledger, now).kind, _claim(ledger, now).kind}
    assert kinds == {NoticeKind.STARTED, NoticeKind.FAILED}


def _claim_kind(ledger: Engine, now: datetime, kind: str) -> Notice:
    while True:
        notice = _claim(ledger, now)
        if notice.kind == kind:
            return notice


def test_only_what_waits_for_a_fault_of_ours_is_overdue(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A mailbox that is full for a day is no reason to wake anybody."""
    ann, ben, carl = (
        NoticeDraft(NoticeKind.STARTED, f"{name}@x.org") for name in ("ann", "ben", "carl")
    )
    behind = NoticeDraft(NoticeKind.FAILED, "ben@x.org")
    _enqueue(ledger, [ann, ben, carl, behind], now)
    outcome: Any
    for outcome in ("ours", "retry", "sent"):
        finish(ledger, _claim(ledger, now), outcome, "so", POLICY, now=now)
    assert overdue(ledger, now - MINUTE) == 0
    assert overdue(ledger, now) == 1
    assert overdue(ledger, now, "r-1") == 1
    assert overdue(ledger, now, "another") == 0
    later = now + timedelta(hours=1)
    for notice in (_claim(ledger, later), _claim(ledger, later)):
        outcome = "sent" if notice.recipient == ann.recipient else "retry"
        finish(ledger, notice, outcome, "so", POLICY, now=later)
    assert overdue(ledger, later) == 0


def test_a_notice_whose_link_is_dead_is_not_sent(ledger: Engine, hold: Hold, now: datetime) -> None:
    """It waits to be replaced by one with a link that works."""
    until = now + timedelta(hours=1)
    _enqueue(ledger, [replace(CLAIM, valid_until=until)], now)
    assert _nothing_due(ledger, until)
    assert _claim(ledger, until - MINUTE).valid_until == until


def test_each_way_of_sending_gets_its_own_notices(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [replace(STARTED, recipient="slack-webhook/ops", channel=Channel.BLOCK)], now)
    assert _nothing_due(ledger, now)
    taken = lease_due(ledger, worker="a:1", lease_seconds=LEASE, now=now, channel=Channel.BLOCK)
    assert taken is not None
    assert (taken.recipient, taken.channel) == ("slack-webhook/ops", Channel.BLOCK)


def test_a_notice_that_nobody_could_try_in_time_is_tried_all_the_same(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    assert _claim(ledger, now + timedelta(days=9)).kind is NoticeKind.STARTED


def test_a_notice_that_keeps_killing_its_worker_is_given_up_too(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    _refused_so_often(ledger, MOST_REFUSALS - 1)
    _claim(ledger, now)
    _after_lease(ledger, now)
    assert _states(ledger) == [NoticeState.FAILED, NoticeState.QUEUED]


def test_a_worker_that_died_before_handing_over_leaves_no_doubt(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now)
    again = _claim(ledger, _after_lease(ledger, now), by="b:2")
    assert (again.tries, again.ambiguous, again.claimed_by) == (2, 0, "b:2")


@pytest.mark.parametrize("how", ["lease", "outcome"])
@pytest.mark.parametrize(("resend", "sends"), [(True, 2), (False, 1)])
def test_a_notice_in_doubt_is_sent_once_more_or_held(
    resend: bool, sends: int, how: str, *, ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A duplicate beats a loss, once, unless the operator wants it the other way round."""
    policy = replace(POLICY, resend_unknown=resend)
    _enqueue(ledger, [STARTED], now)
    for number in range(1, sends + 1):
        notice = _claim(ledger, now)
        assert (notice.kind, notice.tries) == (NoticeKind.STARTED, number)
        _hand_over(ledger, notice, now)
        now += timedelta(hours=2)
        if how == "lease":
            assert release_expired(ledger, policy, now=now) == 1
        else:
            finish(ledger, notice, "unknown", "connection lost", policy, now=now)
        now += timedelta(hours=2)
    assert _claim(ledger, now).kind is NoticeKind.OPERATOR
    assert _nothing_due(ledger, now)
    in_doubt = notices_of(ledger, "r-1")[0]
    assert (in_doubt.state, in_doubt.ambiguous) == (NoticeState.UNKNOWN, sends)


def test_a_notice_that_arrived_after_its_lease_is_not_sent_again(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    notice = _claim(ledger, now)
    _hand_over(ledger, notice, now)
    later = _after_lease(ledger, now)
    assert _states(ledger)[0] is NoticeState.QUEUED
    finish(ledger, notice, "sent", "250", POLICY, now=later)
    assert _claim(ledger, later).kind is NoticeKind.FAILED


def test_a_live_lease_is_left_alone(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [STARTED], now)
    _claim(ledger, now)
    assert release_expired(ledger, POLICY, now=now + timedelta(seconds=LEASE - 1)) == 0
    assert _states(ledger) == [NoticeState.CLAIMED]


def _lose(ledger: Engine, drafts: Sequence[NoticeDraft], now: datetime, round_: int = 1) -> None:
    """Put notices into the outbox, each of which is refused for good."""
    _enqueue(ledger, drafts, now, round_)
    for _ in drafts:
        finish(ledger, _claim(ledger, now), "failed", "550 no", POLICY, now=now)


def _told(ledger: Engine) -> list[Notice]:
    return [one for one in notices_of(ledger, "r-1") if one.kind is NoticeKind.OPERATOR]


def test_an_operator_is_told_once_a_round_of_what_could_not_be_delivered(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A wrong domain in two thousand addresses must not become two thousand mails."""
    claims = [NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org", about=str(n)) for n in range(3)]
    _lose(ledger, claims, now)
    (told,) = _told(ledger)
    assert told.recipient == POLICY.operator.email
    assert told.context["organizations"] == ["acme"]
    assert told.context["undelivered"] == "CLAIM"
    assert told.context["reply"] == "550 no"
    assert "0@example.org" not in str(told.context)
    finish(ledger, _claim(ledger, now), "sent", "250", POLICY, now=now)
    _lose(ledger, [FAILED], now, round_=2)
    assert [one.round for one in _told(ledger)] == [1, 2]


def test_no_operator_is_told_of_what_an_operator_was_not_told(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _lose(ledger, [STARTED], now)
    finish(ledger, _claim(ledger, now), "failed", "550 no such operator", POLICY, now=now)
    assert _states(ledger) == [NoticeState.FAILED, NoticeState.FAILED]


CLAIM = NoticeDraft(
    NoticeKind.CLAIM, "mia@example.org", {"claim_url": "https://x.test/s3cr3t/"}, "mia"
)


@pytest.mark.parametrize("outcome", ["sent", "failed", "unknown"])
def test_a_claim_that_is_done_with_leaves_no_token_in_the_ledger(
    outcome: RecordedOutcome, *, ledger: Engine, hold: Hold, now: datetime
) -> None:
    """DESIGN 7: the token is the key to an account."""
    _enqueue(ledger, [CLAIM, STARTED], now)
    notice = _claim(ledger, now)
    mark_sending(ledger, notice, b"https://x.test/s3cr3t/", lease_seconds=LEASE, now=now)
    policy = replace(POLICY, resend_unknown=False)
    finish(ledger, notice, outcome, "it went so", policy, now=now)
    claim, started = notices_of(ledger, "r-1")[:2]
    assert (claim.context, claim.wire) == ({}, None)
    assert started.context == STARTED.context
    with ledger.begin() as connection:
        rows = connection.execute(text("SELECT * FROM notice")).all()
    assert "s3cr3t" not in str(rows)


def test_a_claim_given_up_for_its_silent_holder_leaves_no_token(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [CLAIM], now)
    _refused_so_often(ledger, MOST_REFUSALS - 1)
    _claim(ledger, now)
    _after_lease(ledger, now)
    claim = notices_of(ledger, "r-1")[0]
    assert (claim.state, claim.context) == (NoticeState.FAILED, {})


def test_a_claim_that_waits_keeps_its_token(ledger: Engine, hold: Hold, now: datetime) -> None:
    _enqueue(ledger, [CLAIM], now)
    finish(ledger, _claim(ledger, now), "retry", "450 later", POLICY, now=now)
    assert notices_of(ledger, "r-1")[0].context == CLAIM.context


def test_the_next_notice_is_found_without_looking_at_those_done_with(
    postgres_ledger: Engine, ask: Callable[..., RelocationRequest], now: datetime
) -> None:
    """Partial indexes serve the claims, also once PostgreSQL plans them without their values."""
    open_relocation(postgres_ledger, "r-1", ask(), at(now))
    done = [NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org", about=str(n)) for n in range(3_000)]
    _enqueue(postgres_ledger, done, now)
    with postgres_ledger.begin() as connection:
        connection.execute(text("UPDATE notice SET state = 'sent'"))
    _enqueue(postgres_ledger, [STARTED], now)
    with postgres_ledger.begin() as connection:
        connection.execute(text("ANALYZE notice"))
    plans: list[str] = []

    def explain(
        connection: Connection, _cursor: object, sql: str, values: Mapping[str, object], *_: object
    ) -> None:
        if "notice" not in sql or sql.startswith("EXPLAIN"):
            return
        names = {name: f"${number}" for number, name in enumerate(values, 1)}
        generic = re.sub(r"%\((\w+)\)s", lambda match: names[match[1]], sql)
        plan = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {generic}").scalars().all()
        plans.append("\n".join(plan))

    event.listen(postgres_ledger, "before_cursor_execute", explain)
    release_expired(postgres_ledger, POLICY, now=now)
    assert _claim(postgres_ledger, now).kind is NoticeKind.STARTED
    released, *_, claimed = plans
    assert "ix_notice_leased" in released
    assert "ix_notice_due" in claimed
    assert "ix_notice_open" in claimed
    assert not any("Seq Scan" in plan for plan in plans)

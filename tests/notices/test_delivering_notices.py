"""The outbox is worked through: nothing is lost, nothing is sent twice, nothing blocks the rest."""

import email
import email.policy
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from smtp_peer import Peer, ServerAt
from sqlalchemy import Engine, event, select, text, update

from relocation.delivery.context import DeliveryContext, SendToBlock
from relocation.delivery.deliver import DeliveryReport, deliver_due
from relocation.delivery.smtp import Mailer
from relocation.ledger.dispatch import MOST_REFUSALS, DeliveryPolicy, lease_due, release_expired
from relocation.ledger.outbox import Notice, enqueue, notices_of
from relocation.ledger.tables import NoticeState
from relocation.ledger.tables import notices as notices_table
from relocation.local.processes import free_port
from relocation.notices.building import Branding
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import Templates

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)
POLICY = DeliveryPolicy(
    Operator("operator@example.org"), "relocation.example.org", resend_unknown=True
)
OLIVIA = "olivia@example.org"
MARCUS = "marcus@example.org"

Deliver = Callable[..., DeliveryReport]
Enqueue = Callable[..., None]


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """A ledger that holds one relocation, on each database."""
    return either_ledger


@pytest.fixture
def put(ledger: Engine, facts: dict[NoticeKind, dict[str, Any]]) -> Enqueue:
    """Put a notice into the outbox."""

    def put(kind: NoticeKind, recipient: str, **changes: object) -> None:
        draft = NoticeDraft(kind, recipient, {**facts[kind], **changes})
        with ledger.begin() as connection:
            enqueue(
                connection, RELOCATION, 1, [draft], sender_domain="relocation.example.org", now=NOW
            )

    return put


@pytest.fixture
def deliver(ledger: Engine, templates: Templates, branding: Branding) -> Deliver:
    """Deliver what is due."""

    def deliver(
        mailer: Mailer | None,
        *,
        now: datetime = NOW,
        relocation_id: str | None = None,
        per_minute: int = 0,
        send_to_block: SendToBlock | None = None,
    ) -> DeliveryReport:
        delivery = DeliveryContext(
            ledger,
            mailer,
            templates,
            branding,
            POLICY,
            per_minute=per_minute,
            send_to_block=send_to_block,
        )
        return deliver_due(delivery, worker="a:1", relocation_id=relocation_id, now=lambda: now)

    return deliver


def _states(ledger: Engine) -> list[NoticeState]:
    return [notice.state for notice in notices_of(ledger, RELOCATION)]


def test_each_due_notice_is_sent_once(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    """W-41."""
    put(NoticeKind.STARTED, OLIVIA)
    put(NoticeKind.STARTED, MARCUS)
    put(NoticeKind.CLAIM, "jane@example.org")
    assert deliver(mailer) == DeliveryReport(sent=3)
    assert deliver(mailer, now=NOW + timedelta(days=1)) == DeliveryReport()
    assert [to for _, to, _ in peer.taken] == [[OLIVIA], [MARCUS], ["jane@example.org"]]
    assert _states(ledger) == [NoticeState.SENT] * 3
    assert all(notice.reply == "2.0.0 queued as T1" for notice in notices_of(ledger, RELOCATION))


def test_the_bytes_are_committed_and_the_notice_is_sending_before_they_go_out(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    """A death from here on leaves a notice that may have arrived, and is known to."""
    seen: list[Notice] = []
    peer.on_data = lambda: seen.extend(notices_of(ledger, RELOCATION))
    put(NoticeKind.STARTED, OLIVIA)
    deliver(mailer)
    assert [notice.state for notice in seen] == [NoticeState.SENDING]
    assert [notice.wire for notice in seen] == [wire for _, _, wire in peer.taken]


def test_a_retry_sends_the_same_bytes(
    peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    put(NoticeKind.STARTED, OLIVIA)
    peer.drop_after_data = True
    assert deliver(mailer) == DeliveryReport(unknown=1)
    peer.drop_after_data = False
    assert deliver(mailer, now=NOW + timedelta(hours=1)) == DeliveryReport(sent=1)
    first, second = peer.taken
    assert first == second


def test_a_refused_recipient_does_not_keep_the_mail_from_others(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    peer.rcpt_reply = {OLIVIA: "550 5.1.1 no such user", MARCUS: "450 4.2.0 try later"}
    for recipient in (OLIVIA, MARCUS, "jane@example.org"):
        put(NoticeKind.STARTED, recipient)
    assert deliver(mailer) == DeliveryReport(sent=2, retry=1, failed=1)
    assert _states(ledger)[:3] == [NoticeState.FAILED, NoticeState.QUEUED, NoticeState.SENT]


def test_a_server_that_is_down_is_asked_once_and_everything_stays_due(
    ledger: Engine, put: Enqueue, deliver: Deliver, server_at: ServerAt
) -> None:
    for recipient in (OLIVIA, MARCUS, "jane@example.org"):
        put(NoticeKind.STARTED, recipient)
    with Mailer(server_at(free_port())) as mailer:
        assert deliver(mailer) == DeliveryReport(retry=1)
    assert _states(ledger) == [NoticeState.QUEUED] * 3
    assert [notice.tries for notice in notices_of(ledger, RELOCATION)] == [1, 0, 0]


def test_a_notice_that_is_retried_for_too_long_counts_as_failed(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    peer.rcpt_reply[OLIVIA] = "450 4.2.0 try later"
    put(NoticeKind.STARTED, OLIVIA)
    with ledger.begin() as connection:
        connection.execute(text("UPDATE notice SET refusals = :n"), {"n": MOST_REFUSALS - 1})
    peer.rcpt_reply[POLICY.operator.email] = "450 4.2.0 try later"
    assert deliver(mailer, now=NOW + timedelta(days=3)) == DeliveryReport(failed=1, retry=1)
    assert _states(ledger) == [NoticeState.FAILED, NoticeState.QUEUED]


@pytest.mark.parametrize(
    ("recipient", "changes"),
    [
        (OLIVIA, {"happened_at": "yesterday"}),
        (OLIVIA, {"organizations": None}),
    ],
)
def test_a_notice_that_cannot_be_built_waits_to_be_mended_and_stops_no_other(
    recipient: str,
    changes: dict[str, Any],
    *,
    ledger: Engine,
    peer: Peer,
    mailer: Mailer,
    put: Enqueue,
    deliver: Deliver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """W-42, W-45."""
    put(NoticeKind.STARTED, recipient, **changes)
    put(NoticeKind.STARTED, MARCUS)
    with caplog.at_level(logging.INFO):
        assert deliver(mailer) == DeliveryReport(sent=2, retry=1)
    broken, _, told = notices_of(ledger, RELOCATION)
    assert broken.state is NoticeState.QUEUED
    assert broken.reply
    assert broken.reply.startswith("STARTED: ")
    assert told.kind is NoticeKind.OPERATOR
    assert [to for _, to, _ in peer.taken] == [[MARCUS], [POLICY.operator.email]]
    ours = [line.getMessage() for line in caplog.records if line.name.startswith("relocation.")]
    assert any("cannot be built" in line for line in ours)
    assert not any(address in line for line in ours for address in (recipient, MARCUS))


def test_the_log_tells_of_each_mail_by_its_message_id_and_never_by_its_address(
    *,
    ledger: Engine,
    peer: Peer,
    mailer: Mailer,
    put: Enqueue,
    deliver: Deliver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "relocation"):
        put(NoticeKind.STARTED, MARCUS)
        put(NoticeKind.STARTED, MARCUS)
        assert deliver(mailer) == DeliveryReport(sent=1)
    (sent,) = notices_of(ledger, RELOCATION)
    ours = [line.getMessage() for line in caplog.records if line.name.startswith("relocation.")]
    about = f"STARTED notice of relocation {RELOCATION}"
    assert sent.wire is not None
    assert ours == [
        f"{about}: queued, Message-ID {sent.message_id}",
        f"{about}: sent, {len(sent.wire)} bytes, answer 250, Message-ID {sent.message_id}",
    ]
    assert MARCUS not in caplog.text


def test_an_address_that_no_mail_can_go_to_is_given_up(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    put(NoticeKind.STARTED, "nobody at all")
    assert deliver(mailer) == DeliveryReport(sent=1, failed=1)
    assert _states(ledger) == [NoticeState.FAILED, NoticeState.SENT]


def test_a_broken_template_that_is_mended_lets_the_mail_go_out(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    put(NoticeKind.STARTED, OLIVIA, happened_at="yesterday")
    for day in range(9):
        deliver(mailer, now=NOW + timedelta(days=day))
    with ledger.begin() as connection:
        context = notices_table.c.context
        is_it = notices_table.c.kind == NoticeKind.STARTED
        facts = connection.execute(select(context).where(is_it)).scalar_one()
        mended = update(notices_table).where(is_it)
        connection.execute(mended.values(context={**facts, "happened_at": "2026-01-01"}))
    assert deliver(mailer, now=NOW + timedelta(days=9)) == DeliveryReport(sent=1)
    assert [to for _, to, _ in peer.taken] == [[POLICY.operator.email], [OLIVIA]]


def test_a_mail_server_that_is_away_for_days_loses_no_mail(
    ledger: Engine,
    mailer: Mailer,
    put: Enqueue,
    deliver: Deliver,
    server_at: ServerAt,
) -> None:
    for recipient in (OLIVIA, MARCUS):
        put(NoticeKind.STARTED, recipient)
    put(NoticeKind.CLAIM, "jane@example.org")
    with Mailer(server_at(free_port())) as nobody:
        for hour in range(0, 24 * 5, 3):
            deliver(nobody, now=NOW + timedelta(hours=hour))
    assert deliver(mailer, now=NOW + timedelta(days=5)) == DeliveryReport(sent=3)
    assert _states(ledger) == [NoticeState.SENT] * 3


def test_a_refused_login_is_a_fault_of_ours_and_a_refused_recipient_is_not(
    peer: Peer, mailer: Mailer, put: Enqueue, ledger: Engine, deliver: Deliver
) -> None:
    peer.rcpt_reply = {OLIVIA: "530 5.7.0 log in first", MARCUS: "450 4.2.0 try later"}
    put(NoticeKind.STARTED, OLIVIA)
    put(NoticeKind.STARTED, MARCUS)
    deliver(mailer)
    deliver(mailer)
    assert [one.refusals for one in notices_of(ledger, RELOCATION)] == [0, 1]


BLOCK = "slack-webhook/operators"


@pytest.fixture
def put_for_block(ledger: Engine, facts: dict[NoticeKind, dict[str, Any]]) -> Callable[[], None]:
    """Put a notice for a notification block into the outbox."""

    def put_for_block() -> None:
        draft = NoticeDraft(
            NoticeKind.OPERATOR, BLOCK, facts[NoticeKind.OPERATOR], channel=Channel.BLOCK
        )
        with ledger.begin() as connection:
            enqueue(connection, RELOCATION, 1, [draft], sender_domain="x.org", now=NOW)

    return put_for_block


def test_a_block_tells_what_the_mail_tells_once_also_where_no_mail_server_is(
    ledger: Engine,
    put: Enqueue,
    deliver: Deliver,
    put_for_block: Callable[[], None],
    server_at: ServerAt,
) -> None:
    told: list[tuple[str, str, str]] = []
    put(NoticeKind.STARTED, OLIVIA)
    put_for_block()
    with Mailer(server_at(free_port())) as nobody:
        for _ in range(2):
            deliver(nobody, send_to_block=lambda *words: told.append(words))
    ((block, subject, body),) = told
    assert (block, subject) == (BLOCK, "Relocation stuck: acme, globex")
    assert f"relocation recover {RELOCATION}" in body
    assert _states(ledger) == [NoticeState.QUEUED, NoticeState.SENT]


def test_a_block_that_fails_is_tried_again_with_the_same_words_and_its_error_stays_secret(
    ledger: Engine,
    mailer: Mailer,
    deliver: Deliver,
    put_for_block: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[str, ...]] = []

    def fail(*words: str) -> None:
        told.append(words)
        raise RuntimeError("https://hooks.example.org/s3cr3t")

    put_for_block()
    for day in range(4):
        assert deliver(mailer, now=NOW + timedelta(days=day), send_to_block=fail).retry == 1
    assert len(set(told)) == 1
    (waiting,) = notices_of(ledger, RELOCATION)
    assert (waiting.state, waiting.reply) == (NoticeState.QUEUED, "RuntimeError")
    assert "s3cr3t" not in caplog.text


def test_a_notice_that_another_process_took_is_not_sent(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    """The lease ran out between claim and hand-over."""
    put(NoticeKind.STARTED, OLIVIA)
    later = NOW + timedelta(hours=1)

    def take_over() -> None:
        release_expired(ledger, POLICY, now=later)
        due = later + timedelta(hours=1)
        assert lease_due(ledger, worker="b:2", lease_seconds=60, now=due) is not None

    peer.on_rcpt = take_over
    assert deliver(mailer) == DeliveryReport()
    assert not peer.taken
    (notice,) = notices_of(ledger, RELOCATION)
    assert (notice.state, notice.claimed_by) == (NoticeState.CLAIMED, "b:2")


@pytest.mark.parametrize("kind", [NoticeKind.FAILED, NoticeKind.SUCCEEDED])
def test_the_last_notice_is_in_the_thread_of_the_first_to_the_same_reader(
    kind: NoticeKind, *, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    """A-143."""
    put(NoticeKind.STARTED, MARCUS)
    put(NoticeKind.STARTED, OLIVIA)
    put(kind, OLIVIA)
    deliver(mailer)
    marcus, olivia, answer = (
        email.message_from_bytes(wire, policy=email.policy.default) for _, _, wire in peer.taken
    )
    assert answer["In-Reply-To"] == answer["References"] == olivia["Message-ID"]
    assert marcus["In-Reply-To"] is olivia["In-Reply-To"] is None


def test_a_failure_before_the_start_was_told_refers_to_nothing(
    peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    put(NoticeKind.FAILED, OLIVIA)
    assert deliver(mailer) == DeliveryReport(sent=1)
    assert b"In-Reply-To" not in peer.taken[0][2]


def test_only_the_notices_of_the_named_relocation_are_sent(
    ledger: Engine, peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    put(NoticeKind.STARTED, OLIVIA)
    assert deliver(mailer, relocation_id="another") == DeliveryReport()
    assert not peer.connections
    assert deliver(mailer, relocation_id=RELOCATION) == DeliveryReport(sent=1)


def test_notices_are_sent_at_the_pace_that_is_set(
    peer: Peer, mailer: Mailer, put: Enqueue, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for recipient in (OLIVIA, MARCUS):
        put(NoticeKind.STARTED, recipient)
    assert deliver(mailer, per_minute=2) == DeliveryReport(sent=2)
    assert [wait > 0 for wait in waits] == [False, True]


def test_the_commits_of_a_notice_are_three(
    ledger: Engine, mailer: Mailer, put: Enqueue, deliver: Deliver
) -> None:
    """Claimed, handed over with its bytes, finished: each must outlive a crash by itself."""
    put(NoticeKind.CLAIM, OLIVIA)
    put(NoticeKind.CLAIM, MARCUS)
    commits: list[object] = []
    event.listen(ledger, "commit", commits.append)
    assert deliver(mailer) == DeliveryReport(sent=2)
    looks = 3  # for leases that ran out, for digests, and for a third notice
    assert len(commits) == 2 * 3 + looks

"""Many notices cost one wait for the disk, and each of them is as safe as one sent alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from smtp_peer import Peer
from sqlalchemy import Engine, create_engine, delete, event, text, update

from relocation.database import engine_options
from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import DeliveryReport, deliver_due
from relocation.delivery.smtp import Mailer
from relocation.ledger import crashes
from relocation.ledger.dispatch import DeliveryPolicy, lease_due, release_expired
from relocation.ledger.groups import keep_bytes, lease_group
from relocation.ledger.outbox import Notice, enqueue, notices_of
from relocation.ledger.tables import NoticeState, witnesses
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import Templates

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True)
PEOPLE = [f"{n}@example.org" for n in range(6)]

Put = Callable[[], None]


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """A ledger that holds one relocation, on each database."""
    return either_ledger


@pytest.fixture(autouse=True)
def put(ledger: Engine, facts: dict[NoticeKind, dict[str, Any]]) -> None:
    """Six people are to be told."""
    drafts = [NoticeDraft(NoticeKind.CLAIM, one, facts[NoticeKind.CLAIM], one) for one in PEOPLE]
    with ledger.begin() as connection:
        enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)


@pytest.fixture
def delivery(
    ledger: Engine, mailer: Mailer, templates: Templates, branding: Branding
) -> DeliveryContext:
    """What it takes to send the notices of the ledger to the peer."""
    return DeliveryContext(ledger, mailer, templates, branding, POLICY)


def _deliver(delivery: DeliveryContext, now: datetime = NOW) -> DeliveryReport:
    return deliver_due(delivery, worker="a:1", now=lambda: now)


def _claim(ledger: Engine, now: datetime = NOW, most: int = 9) -> list[Notice]:
    return lease_group(ledger, most=most, worker="a:1", lease_seconds=60, now=now)


def _states(ledger: Engine) -> list[NoticeState]:
    return [one.state for one in notices_of(ledger, RELOCATION) if one.kind is NoticeKind.CLAIM]


def _recipients(peer: Peer) -> list[str]:
    return [to for _, (to,), _ in peer.taken]


def test_a_group_costs_one_commit_a_notice_and_a_few_for_all(
    ledger: Engine, delivery: DeliveryContext
) -> None:
    commits: list[object] = []
    event.listen(ledger, "commit", commits.append)
    assert _deliver(delivery) == DeliveryReport(sent=6)
    looks = 3  # for leases that ran out, for digests, and for more notices
    alone, group = 3, 3  # claimed, bytes kept, and the last result
    settings = 2 * (ledger.dialect.name == "postgresql")
    assert len(commits) == looks + alone + group + settings + 5


def test_one_notice_at_most_is_being_sent_and_its_bytes_are_kept(
    ledger: Engine, peer: Peer, delivery: DeliveryContext
) -> None:
    seen = []
    peer.on_data = lambda: seen.append(notices_of(ledger, RELOCATION))
    _deliver(delivery)
    for number, (rows, (_, (to,), wire)) in enumerate(zip(seen, peer.taken, strict=True)):
        (sending,) = (one for one in rows if one.state is NoticeState.SENDING)
        assert (sending.recipient, sending.wire) == (to, wire)
        assert [one.state for one in rows].count(NoticeState.SENT) == number


@pytest.mark.parametrize("pipelining", [False, True])
def test_a_refused_recipient_amid_a_group_harms_no_other(
    pipelining: bool, *, ledger: Engine, peer: Peer, delivery: DeliveryContext
) -> None:
    peer.pipelining = pipelining
    peer.rcpt_reply = {PEOPLE[2]: "550 5.1.1 no such user", PEOPLE[4]: "450 4.2.0 later"}
    assert _deliver(delivery) == DeliveryReport(sent=5, retry=1, failed=1)  # an operator was told
    assert _recipients(peer)[:4] == [PEOPLE[n] for n in (0, 1, 3, 5)]
    ends = [one.state for one in notices_of(ledger, RELOCATION)]
    assert (ends[2], ends[4]) == (NoticeState.FAILED, NoticeState.QUEUED)
    assert len(peer.connections) == 1


@pytest.mark.parametrize("pipelining", [False, True])
def test_a_message_that_is_refused_amid_a_group_harms_no_other(
    pipelining: bool, *, peer: Peer, delivery: DeliveryContext
) -> None:
    peer.pipelining = pipelining

    def refuse_the_third() -> None:
        third = len(peer.taken) == 2 and peer.data_reply.startswith("250")
        peer.data_reply = "451 4.3.0 disk full" if third else "250 2.0.0 queued as T1"

    peer.on_data = refuse_the_third
    assert _deliver(delivery) == DeliveryReport(sent=5, retry=1)
    assert _recipients(peer) == [PEOPLE[n] for n in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("pipelining", [False, True])
def test_what_a_lost_connection_left_untried_is_due_at_once_and_no_older(
    pipelining: bool, *, ledger: Engine, peer: Peer, delivery: DeliveryContext
) -> None:
    peer.pipelining = pipelining

    def drop() -> None:
        peer.drop_after_data = len(peer.taken) == 3

    peer.on_data = drop
    assert _deliver(delivery) == DeliveryReport(sent=3, unknown=1)
    rest = notices_of(ledger, RELOCATION)[4:]
    assert [(one.state, one.refusals, one.lease_until) for one in rest] == [
        (NoticeState.QUEUED, 0, None)
    ] * 2
    peer.drop_after_data = False
    peer.on_data = lambda: None
    assert _deliver(delivery) == DeliveryReport(sent=2)
    assert _deliver(delivery, NOW + 2 * HOUR) == DeliveryReport(sent=1)
    assert sorted(_recipients(peer)) == sorted([*PEOPLE, PEOPLE[3]])


@pytest.mark.parametrize("pipelining", [False, True])
def test_once_a_lease_is_lost_nothing_more_of_the_group_is_sent(
    pipelining: bool, *, ledger: Engine, peer: Peer, delivery: DeliveryContext
) -> None:
    peer.pipelining = pipelining
    later = NOW + HOUR

    def take_over() -> None:
        if len(peer.taken) == 2:
            release_expired(ledger, POLICY, now=later)
            while lease_due(ledger, worker="b:2", lease_seconds=60, now=later + HOUR):
                pass

    peer.on_data = take_over
    assert _deliver(delivery).sent == 3
    assert _recipients(peer) == PEOPLE[:3]
    others = notices_of(ledger, RELOCATION)[3:]
    assert {(one.state, one.claimed_by) for one in others} == {(NoticeState.CLAIMED, "b:2")}
    # It arrived after its lease had run out, and another process had it by then.
    assert _states(ledger)[:2] == [NoticeState.SENT] * 2


def test_a_slow_group_is_claimed_for_longer(
    ledger: Engine, peer: Peer, delivery: DeliveryContext
) -> None:
    """Else the last ones would be taken for those of a dead process."""
    minutes = 0
    leases = []

    def pass_three_minutes() -> None:
        nonlocal minutes
        minutes += 3
        leases.append(notices_of(ledger, RELOCATION)[-1].lease_until)

    peer.on_data = pass_three_minutes
    report = deliver_due(delivery, worker="a:1", now=lambda: NOW + timedelta(minutes=minutes))
    assert report == DeliveryReport(sent=6)
    held = [lease for lease in leases if lease]
    assert len(held) == 5
    for number, lease in enumerate(held[1:], 1):
        assert lease >= NOW + timedelta(minutes=3 * number) + timedelta(minutes=1)


def test_a_notice_whose_sender_died_is_taken_alone(ledger: Engine) -> None:
    """It may be what killed it: others of its group must not be given up along with it."""
    assert len(_claim(ledger)) == 6
    assert release_expired(ledger, POLICY, now=NOW + HOUR) == 6
    for _ in PEOPLE:
        assert len(_claim(ledger, NOW + 3 * HOUR)) == 1
    assert not _claim(ledger, NOW + 3 * HOUR)


def test_a_group_has_one_notice_a_recipient(
    ledger: Engine, facts: dict[NoticeKind, dict[str, Any]]
) -> None:
    again = NoticeDraft(NoticeKind.STARTED, PEOPLE[0].upper(), facts[NoticeKind.STARTED])
    with ledger.begin() as connection:
        enqueue(connection, RELOCATION, 1, [again], sender_domain="example.org", now=NOW)
    assert [one.recipient for one in _claim(ledger)] == PEOPLE


def _crash(ledger: Engine) -> None:
    """Leave what a crash of the database leaves: PostgreSQL empties the table, SQLite reboots."""
    with ledger.begin() as connection:
        if ledger.dialect.name == "postgresql":
            connection.execute(delete(witnesses))
        else:
            connection.execute(update(witnesses).values(boot="the one before"))


def test_after_a_crash_what_might_have_been_sent_is_in_doubt(ledger: Engine) -> None:
    """The crash may have lost the marks of those that were claimed with their bytes."""
    release_expired(ledger, POLICY, now=NOW)
    kept, bare = (group := _claim(ledger))[:4], group[4:]
    keep_bytes(ledger, [(one, b"x") for one in kept])
    _crash(ledger)
    release_expired(ledger, POLICY, now=NOW)
    assert _states(ledger) == [NoticeState.SENDING] * 4 + [NoticeState.CLAIMED] * len(bare)
    held = replace(POLICY, resend_unknown=False)
    assert release_expired(ledger, held, now=NOW + HOUR) == 6
    assert _states(ledger) == [NoticeState.UNKNOWN] * 4 + [NoticeState.QUEUED] * 2


def test_without_a_crash_what_was_not_marked_was_not_sent(ledger: Engine) -> None:
    release_expired(ledger, POLICY, now=NOW)
    keep_bytes(ledger, [(one, b"x") for one in _claim(ledger)])
    release_expired(ledger, POLICY, now=NOW)
    assert _states(ledger) == [NoticeState.CLAIMED] * 6
    release_expired(ledger, replace(POLICY, resend_unknown=False), now=NOW + HOUR)
    assert _states(ledger) == [NoticeState.QUEUED] * 6


def test_a_crash_of_postgresql_empties_the_table_that_tells_of_it(postgres_ledger: Engine) -> None:
    kind = text("SELECT relpersistence FROM pg_class WHERE relname = 'witness'")
    with postgres_ledger.begin() as connection:
        assert connection.execute(kind).scalar_one() in ("u", b"u")


def test_only_marks_do_without_the_disk(ledger: Engine) -> None:
    """The next one to use the connection waits for it again."""
    postgresql = ledger.dialect.name == "postgresql"
    asked = "SHOW synchronous_commit" if postgresql else "PRAGMA synchronous"
    # Those of the tests do not wait anyway.
    waiting = {"connect_args": {"options": "-c synchronous_commit=on"}} if postgresql else {}
    engine = create_engine(ledger.url, **engine_options(ledger.dialect.name), **waiting)
    with crashes.without_waiting(engine) as quick:
        assert quick.exec_driver_sql(asked).scalar_one() in ("off", 1)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(asked).scalar_one() in ("on", 2)
    engine.dispose()

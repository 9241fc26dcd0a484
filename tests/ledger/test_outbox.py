"""Every notice is put into the outbox once, and comes back as it was put in."""

import re
from collections.abc import Sequence
from datetime import datetime

import pytest
from sqlalchemy import Engine, event

from relocation.ledger.dispatch import lease_due
from relocation.ledger.holds import Hold
from relocation.ledger.outbox import Notice, enqueue, notices_of, thread_of
from relocation.ledger.tables import NoticeState
from relocation.notices.kinds import PER_ROUND, NoticeDraft, NoticeKind

STARTED = NoticeDraft(NoticeKind.STARTED, "olivia@example.org", {"owner": "olivia"})
FAILED = NoticeDraft(NoticeKind.FAILED, "olivia@example.org")


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on each database."""
    return either_ledger


def _enqueue(ledger: Engine, drafts: Sequence[NoticeDraft], now: datetime, round_: int = 1) -> int:
    with ledger.begin() as connection:
        return enqueue(connection, "r-1", round_, drafts, sender_domain="example.org", now=now)


def _claim(ledger: Engine, now: datetime) -> Notice:
    notice = lease_due(ledger, worker="a:1", lease_seconds=60, now=now)
    assert notice is not None
    return notice


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_is_put_into_the_outbox_once(
    ledger: Engine, hold: Hold, now: datetime, kind: NoticeKind
) -> None:
    """B-3, W-41: a retry adds none; a new round adds one of the kinds that are told by round."""
    draft = NoticeDraft(kind, "olivia@example.org", about="olivia")
    assert _enqueue(ledger, [draft, draft], now) == 1
    assert _enqueue(ledger, [draft], now) == 0
    assert _enqueue(ledger, [draft], now, round_=2) == (1 if kind in PER_ROUND else 0)


def test_claims_of_two_users_with_one_address_are_two_notices(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    claims = [
        NoticeDraft(NoticeKind.CLAIM, "shared@example.org", about=name) for name in ("a", "b")
    ]
    assert _enqueue(ledger, claims, now) == 2


def test_message_ids_are_unique_and_at_the_domain_of_the_sender(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _enqueue(ledger, [STARTED, FAILED], now)
    ids = [notice.message_id for notice in notices_of(ledger, "r-1")]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"<[0-9a-f]{32}@example\.org>", id_) for id_ in ids)


def test_a_notice_comes_back_as_it_was_put_in(ledger: Engine, hold: Hold, now: datetime) -> None:
    draft = NoticeDraft(
        NoticeKind.CLAIM, "Mia@example.org", {"nested": [1, {"ü": None}]}, about="mia"
    )
    _enqueue(ledger, [draft], now)
    notice = _claim(ledger, now)
    assert (notice.kind, notice.recipient, notice.about) == (draft.kind, draft.recipient, "mia")
    assert notice.context == draft.context
    assert (notice.relocation_id, notice.round, notice.wire) == ("r-1", 1, None)
    assert (notice.state, notice.tries, notice.claimed_by) == (NoticeState.CLAIMED, 1, "a:1")


def test_a_notice_prints_no_address_and_no_content(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    draft = NoticeDraft(
        NoticeKind.CLAIM, "mia@mail.test", {"claim_url": "s3cr3t"}, about="mia-name"
    )
    _enqueue(ledger, [draft], now)
    printed = repr(_claim(ledger, now))
    assert "mail.test" not in printed
    assert "s3cr3t" not in printed
    assert "mia-name" not in printed


def test_many_notices_go_into_the_outbox_in_few_statements(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A relocation of many unclaimed users queues as many notices in the transaction of its end."""
    drafts = [NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org", about=str(n)) for n in range(2_500)]
    statements: list[str] = []
    event.listen(ledger, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert _enqueue(ledger, drafts[:1_000], now) == 1_000
    assert _enqueue(ledger, drafts, now) == 1_500
    assert len([one for one in statements if one.startswith("INSERT")]) <= 5
    assert [one.about for one in notices_of(ledger, "r-1")] == [str(n) for n in range(2_500)]


def test_no_notices_are_no_statement(ledger: Engine, hold: Hold, now: datetime) -> None:
    assert _enqueue(ledger, [], now) == 0


def test_the_thread_of_a_notice_is_the_start_told_to_the_same_reader(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A-143."""
    elsewhere = NoticeDraft(NoticeKind.STARTED, "carl@example.org")
    shouted = NoticeDraft(NoticeKind.FAILED, FAILED.recipient.upper())
    _enqueue(
        ledger, [elsewhere, STARTED, shouted, NoticeDraft(NoticeKind.FAILED, "mia@x.test")], now
    )
    _, started, failed, unthreaded = notices_of(ledger, "r-1")
    assert thread_of(ledger, failed) == started.message_id
    assert thread_of(ledger, unthreaded) is None

"""Operators read of the first failure of a cause at once, and of the rest together."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import Engine

from relocation.ledger.digests import gather_digests
from relocation.ledger.dispatch import DeliveryPolicy, finish, lease_due, mark_sending
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import Notice, enqueue, notices_of
from relocation.ledger.tables import NoticeState
from relocation.notices.failure import Destination
from relocation.notices.kinds import Channel, Window
from relocation.notices.operator import Operator, failed_drafts
from relocation.request import RelocationRequest
from relocation.steps import Task

WINDOW = timedelta(minutes=15)
OPERATOR = Operator("operator@example.org")
POLICY = DeliveryPolicy(OPERATOR, "example.org", resend_unknown=True)

Fail = Callable[..., None]


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on each database."""
    return either_ledger


@pytest.fixture
def fail(ledger: Engine, ask: Callable[..., RelocationRequest]) -> Fail:
    """Let relocations fail: each in a transaction of its own."""

    def fail(*ids: str, at: datetime, cause: str = "A", operator: Operator = OPERATOR) -> None:
        for id_ in ids:
            open_relocation(ledger, id_, ask(owner=id_), lambda _: at)
            drafts = failed_drafts(
                operator,
                [f"org-{id_}"],
                task=Task.IMPORT_ORGANIZATIONS,
                tries=5,
                reason="It failed.",
                fault="OSError: No space left",
                destination=Destination.HIDDEN,
                window=Window(cause, WINDOW),
                now=at,
            )
            with ledger.begin() as connection:
                enqueue(connection, id_, 1, drafts, sender_domain="example.org", now=at)

    return fail


def told(ledger: Engine, *ids: str) -> list[Notice]:
    return [notice for id_ in ids for notice in notices_of(ledger, id_)]


def due(ledger: Engine, now: datetime) -> list[Notice]:
    """Take all that is due, as a delivery does."""
    gather_digests(ledger, "example.org", now=now)
    found = []
    while notice := lease_due(ledger, worker="a:1", lease_seconds=60, now=now):
        mark_sending(ledger, notice, b"x", lease_seconds=60, now=now)
        finish(ledger, notice, "sent", "250", POLICY, now=now)
        found.append(notice)
    return found


def test_the_first_is_told_at_once_and_the_rest_in_one_notice_at_the_end_of_the_window(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    fail("r-1", at=now)
    (first,) = due(ledger, now)
    assert (first.context["matter"], first.relocation_id) == ("failed", "r-1")
    later = now + timedelta(minutes=5)
    fail("r-2", "r-3", "r-4", at=later)
    assert due(ledger, now + WINDOW - timedelta(seconds=1)) == []
    (digest,) = due(ledger, now + WINDOW)
    assert digest.context["matter"] == "digest"
    assert digest.context["count"] == 3
    assert [one["relocation_id"] for one in digest.context["failures"]] == ["r-2", "r-3", "r-4"]
    assert digest.context["since"] == later.isoformat(timespec="seconds")
    replaced = [one.state for one in told(ledger, "r-2", "r-3", "r-4") if one.id != digest.id]
    assert replaced == [NoticeState.REPLACED] * 3
    assert due(ledger, now + timedelta(days=9)) == []


def test_after_the_window_the_next_one_is_told_at_once_again(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    fail("r-1", at=now)
    due(ledger, now)
    fail("r-2", at=now + WINDOW)
    assert [one.relocation_id for one in due(ledger, now + WINDOW)] == ["r-2"]


def test_one_that_waited_alone_is_told_as_it_is(ledger: Engine, fail: Fail, now: datetime) -> None:
    fail("r-1", at=now)
    due(ledger, now)
    fail("r-2", at=now)
    (second,) = due(ledger, now + WINDOW)
    assert (second.context["matter"], second.relocation_id) == ("failed", "r-2")


def test_another_cause_and_another_way_of_telling_have_notices_of_their_own(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    both = Operator("operator@example.org", "slack-webhook/ops")
    fail("r-1", "r-2", "r-3", at=now, operator=both)
    fail("r-4", at=now, cause="B", operator=both)
    due(ledger, now)
    assert gather_digests(ledger, "example.org", now=now + WINDOW) == 4 + 1
    waiting = [one for one in told(ledger, "r-1", "r-2", "r-4") if one.state == "queued"]
    counts = {(one.channel, one.context.get("count")) for one in waiting}
    assert counts == {(Channel.MAIL, 2), (Channel.BLOCK, 3), (Channel.BLOCK, None)}


def test_what_was_handed_over_keeps_its_bytes_and_stays_out_of_a_digest(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    fail("r-1", at=now)
    notice = lease_due(ledger, worker="a:1", lease_seconds=60, now=now)
    assert notice is not None
    mark_sending(ledger, notice, b"as it was", lease_seconds=60, now=now)
    finish(ledger, notice, "unknown", "connection lost", POLICY, now=now)
    fail("r-2", "r-3", at=now)
    assert gather_digests(ledger, "example.org", now=now + timedelta(hours=3)) == 2
    (first,) = told(ledger, "r-1")
    assert (first.state, first.wire) == (NoticeState.QUEUED, b"as it was")


def test_a_hundred_that_could_not_be_mailed_for_an_hour_are_one_mail(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    fail(*(f"r-{number}" for number in range(100)), at=now)
    (digest,) = due(ledger, now + timedelta(hours=1))
    assert digest.context["count"] == 100
    assert len(digest.context["failures"]) == 50
    assert digest.context["more_failures"] == 50


def test_of_many_that_fail_at_once_one_is_the_first(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    barrier = Barrier(5)

    def run(number: int) -> None:
        barrier.wait()
        fail(f"r-{number}", at=now)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(run, range(5)))
    begins = [one.not_before for one in told(ledger, *(f"r-{number}" for number in range(5)))]
    assert sorted(begins) == [now] + [now + WINDOW] * 4


def test_many_that_gather_at_once_make_one_digest(
    ledger: Engine, fail: Fail, now: datetime
) -> None:
    fail(*(f"r-{number}" for number in range(8)), at=now)
    barrier = Barrier(4)

    def run(_: int) -> int:
        barrier.wait()
        return gather_digests(ledger, "example.org", now=now + WINDOW)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(run, range(4)))
    assert sum(counts) == 8
    notices = told(ledger, *(f"r-{number}" for number in range(8)))
    states = [one.state for one in notices]
    digests = [one for one in notices if one.context["matter"] == "digest"]
    waiting = states.count(NoticeState.QUEUED)
    assert waiting == len(digests)
    assert sum(one.context["count"] for one in digests) == 8

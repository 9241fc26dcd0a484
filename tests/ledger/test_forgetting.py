"""What a ledger knows of people goes in time; its numbers, and what is still needed, stay."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from ended import (
    ACCOUNTS,
    CREATOR,
    KIT,
    MEMBER,
    OWNER,
    do,
    ends,
    held,
    is_forgotten,
    opened,
    rolls_back,
    sends,
    succeeds,
    texts,
)
from sqlalchemy import Engine, event

from relocation.errors import CommandError
from relocation.ledger.forgetting import (
    AT_ONCE,
    BATCH,
    forget_people,
    record_chunks_removed,
    with_old_chunks,
)
from relocation.ledger.history import history_of
from relocation.ledger.holds import take_hold
from relocation.ledger.outbox import enqueue, notices_of, requeue
from relocation.ledger.relocations import get_relocation
from relocation.ledger.reports import reports_of
from relocation.ledger.results import ArchiveReceived, OrganizationsImported, OrganizationsRevealed
from relocation.ledger.tables import NoticeState
from relocation.ledger.tries import needed_result, tries_of
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import LifecycleEvent, Status, Task

MONTH = timedelta(days=30)


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on SQLite and on PostgreSQL."""
    return either_ledger


def forget(ledger: Engine, now: datetime, age: timedelta = MONTH) -> int:
    return forget_people(ledger, now - age, now=now)


def test_the_people_of_a_success_are_forgotten_and_its_numbers_stay(
    ledger: Engine, now: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    assert sends(ledger, now) == 3
    before = get_relocation(ledger, "r-1")
    tries, notices = tries_of(ledger, "r-1"), notices_of(ledger, "r-1")
    assert forget(ledger, now + MONTH + timedelta(seconds=1)) == 1
    for name in (OWNER, CREATOR, MEMBER, "people.test", "471108150815"):
        assert not [text for text in texts(ledger, "r-1") if name in text], name
    after = get_relocation(ledger, "r-1")
    assert (after.owner, after.creator, after.owner_email, after.plan) == ("", None, None, None)
    kept = ("id", "status", "step", "round", "organizations", "archive", "created_at", "settled_at")
    assert all(getattr(after, name) == getattr(before, name) for name in kept)
    assert [(one.task, one.outcome, one.ended_at) for one in tries_of(ledger, "r-1")] == [
        (one.task, one.outcome, one.ended_at) for one in tries
    ]
    assert [(one.kind, one.state, one.sent_at) for one in notices_of(ledger, "r-1")] == [
        (one.kind, one.state, one.sent_at) for one in notices
    ]
    assert needed_result(ledger, "r-1", OrganizationsImported) == OrganizationsImported(
        ACCOUNTS, ()
    )
    assert needed_result(ledger, "r-1", ArchiveReceived) == ArchiveReceived(bytes=7)
    assert needed_result(ledger, "r-1", OrganizationsRevealed) == OrganizationsRevealed()
    assert reports_of(ledger, "r-1") == {}
    assert [one.what for one in history_of(ledger, "r-1")] == [LifecycleEvent.FORGOTTEN]
    assert forget(ledger, now + 2 * MONTH) == 0


def test_what_is_not_old_enough_is_left_to_the_letter(ledger: Engine, now: datetime) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    before = held(ledger, "r-1")
    assert forget(ledger, now + MONTH) == 0
    assert held(ledger, "r-1") == before
    assert reports_of(ledger, "r-1") == {Task.COMPLETE: KIT}


def test_what_failed_is_kept_since_it_can_be_resumed(ledger: Engine, now: datetime) -> None:
    ends(ledger, opened(ledger, "r-1", now), Status.FAILURE, now)
    sends(ledger, now)
    before = held(ledger, "r-1")
    assert forget(ledger, now + 100 * MONTH) == 0
    assert held(ledger, "r-1") == before


@pytest.mark.parametrize(
    ("imported", "rolled_back", "goes"),
    [
        (False, None, True),
        (True, True, True),
        (True, None, False),  # refused: people's rows hang on it
        (True, False, False),  # it goes on some time
    ],
)
def test_what_was_cancelled_is_forgotten_once_nothing_of_it_is_left(
    ledger: Engine, now: datetime, imported: bool, rolled_back: bool | None, goes: bool
) -> None:
    hold = opened(ledger, "r-1", now)
    if imported:
        do(ledger, hold, OrganizationsImported({}, ()), now)
    if rolled_back is not None:
        rolls_back(ledger, hold, now, wholly=rolled_back)
    ends(ledger, hold, Status.CANCELLED, now)
    sends(ledger, now)
    assert forget(ledger, now + 2 * MONTH) == (1 if goes else 0)


def test_while_a_mail_waits_nothing_is_forgotten(ledger: Engine, now: datetime) -> None:
    later = now + 2 * MONTH
    succeeds(ledger, opened(ledger, "r-1", now), now, link_until=later + MONTH)
    sends(ledger, now)
    with ledger.begin() as connection:
        late = NoticeDraft(NoticeKind.OPERATOR, "operator@mail.test")
        enqueue(connection, "r-1", 1, [late], sender_domain="mail.test", now=now)
    assert forget(ledger, later) == 0
    assert sends(ledger, now) == 1
    assert forget(ledger, later) == 0, "a link in a mail that was sent still works"
    assert forget(ledger, later + 2 * MONTH) == 1


def test_what_was_given_up_can_be_sent_again_for_as_long(ledger: Engine, now: datetime) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    assert sends(ledger, now, "failed") == 5  # owner, creator, claim, and the operator of both
    again = now + MONTH
    assert requeue(ledger, "r-1", now=again).queued == 4
    assert sends(ledger, again, "failed") == 4
    assert forget(ledger, again + timedelta(days=1)) == 0
    assert requeue(ledger, "r-1", now=again).queued == 4
    assert sends(ledger, again, "unknown") == 4
    assert forget(ledger, again + MONTH + timedelta(seconds=1)) == 1
    with pytest.raises(CommandError, match="forgotten"):
        requeue(ledger, "r-1", now=again)
    states = {one.state for one in notices_of(ledger, "r-1")}
    assert states == {NoticeState.UNKNOWN, NoticeState.FAILED}


def test_who_holds_a_relocation_keeps_it_known_and_who_looked_before_gets_no_hold(
    ledger: Engine, now: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    seen, later = get_relocation(ledger, "r-1"), now + 2 * MONTH
    hold = take_hold(ledger, seen, lease_seconds=60, worker="host:2", now=later)
    assert hold is not None
    assert forget(ledger, later) == 0
    seen = get_relocation(ledger, "r-1")
    assert forget(ledger, later + 2 * MONTH) == 1
    late = later + 2 * MONTH
    assert take_hold(ledger, seen, lease_seconds=60, worker="host:2", now=late) is None


def test_many_go_in_few_commits_and_a_bounded_number_at_once(
    ledger: Engine, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relocation.ledger.forgetting.BATCH", 4)
    monkeypatch.setattr("relocation.ledger.forgetting.AT_ONCE", 10)
    assert AT_ONCE / BATCH <= 10
    for number in range(13):
        ends(ledger, opened(ledger, f"r-{number}", now, f"o-{number}"), Status.CANCELLED, now)
    sends(ledger, now)
    commits: Counter[str] = Counter()
    event.listen(ledger, "commit", lambda _: commits.update(["commit"]))
    assert forget(ledger, now + 2 * MONTH) == 10
    assert commits["commit"] == 3
    assert forget(ledger, now + 2 * MONTH) == 3
    assert all(is_forgotten(ledger, f"r-{number}") for number in range(13))


def test_chunk_records_go_last_of_all(ledger: Engine, now: datetime) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    later = now + 2 * MONTH
    assert with_old_chunks(ledger, later + 100 * MONTH) == {}, "its people are known"
    forget(ledger, later)
    assert with_old_chunks(ledger, later) == {}
    fence = get_relocation(ledger, "r-1").fence
    assert with_old_chunks(ledger, later + MONTH) == {"r-1": fence}
    record_chunks_removed(ledger, ["r-1"], later + MONTH)
    assert with_old_chunks(ledger, later + MONTH) == {}

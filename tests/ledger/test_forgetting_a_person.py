"""A person who asks for it is forgotten wherever nothing needs them, and nobody else is."""

from datetime import datetime, timedelta

import pytest
from ended import CREATOR, MEMBER, OWNER, address, ends, held, opened, sends, succeeds, texts
from sqlalchemy import Engine

from relocation.errors import CommandError
from relocation.ledger.history import history_of
from relocation.ledger.holds import take_hold
from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.person import forget_person
from relocation.ledger.relocations import get_relocation
from relocation.ledger.reports import reports_of
from relocation.ledger.tables import NoticeState, utc_now
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import LifecycleEvent, Status, Task


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on SQLite and on PostgreSQL."""
    return either_ledger


@pytest.fixture
def later(now: datetime) -> datetime:
    """When the links in mails are dead."""
    return now + timedelta(hours=2)


def named(ledger: Engine, *names: str) -> list[str]:
    return [text for text in texts(ledger, "r-1") for name in names if name in text]


@pytest.mark.parametrize("given", [MEMBER, address(MEMBER), MEMBER.upper()])
def test_a_member_is_forgotten_and_nobody_else(
    ledger: Engine, now: datetime, later: datetime, given: str
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    numbers = [(one.kind, one.state, one.sent_at) for one in notices_of(ledger, "r-1")]
    assert forget_person(ledger, given, later).relocations == ["r-1"]
    assert not named(ledger, address(MEMBER), f"'{MEMBER}'")
    assert [one.recipient for one in notices_of(ledger, "r-1")] == [
        address(OWNER),
        address(CREATOR),
        "",
    ]
    usernames = reports_of(ledger, "r-1")[Task.COMPLETE]["usernames"]
    assert usernames == [{"old_username": "mia-old", "username": "(forgotten)"}]
    assert get_relocation(ledger, "r-1").plan == {"users": {}, "slugs": {}}
    assert [(one.kind, one.state, one.sent_at) for one in notices_of(ledger, "r-1")] == numbers
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.owner, relocation.owner_email) == (OWNER, address(OWNER))


def test_an_owner_is_forgotten_once_however_often_one_asks_and_is_not_told_again(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    assert forget_person(ledger, OWNER, later).relocations == ["r-1"]
    before = held(ledger, "r-1")
    assert forget_person(ledger, OWNER, later).relocations == []
    assert held(ledger, "r-1") == before
    assert not named(ledger, OWNER)
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.owner, relocation.owner_email) == ("", None)
    assert (relocation.creator, relocation.creator_email) == (CREATOR, address(CREATOR))
    events = [one.what for one in history_of(ledger, "r-1")]
    assert events.count(LifecycleEvent.FORGOTTEN) == 1
    with ledger.begin() as connection:
        again = NoticeDraft(NoticeKind.SUCCEEDED, address(OWNER))
        assert enqueue(connection, "r-1", 1, [again], sender_domain="mail.test", now=later) == 0


def test_nothing_is_removed_while_a_relocation_is_at_work_or_a_mail_waits(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    before = held(ledger, "r-1")
    with pytest.raises(CommandError, match="r-1"):
        forget_person(ledger, OWNER, later)
    assert held(ledger, "r-1") == before
    sends(ledger, now)
    opened(ledger, "r-2", now, "noah")
    before = held(ledger, "r-1")
    with pytest.raises(CommandError, match="r-2"):
        forget_person(ledger, CREATOR, later)
    assert held(ledger, "r-1") == before
    assert forget_person(ledger, OWNER, later).relocations == ["r-1"]


def test_what_failed_keeps_what_its_resumption_needs_and_that_is_said(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    ends(ledger, opened(ledger, "r-1", now), Status.FAILURE, now)
    sends(ledger, now)
    before = held(ledger, "r-1")
    done = forget_person(ledger, OWNER, later)
    assert (done.relocations, done.kept) == ([], {"r-1": "it failed and can be resumed"})
    assert held(ledger, "r-1") == before
    assert {one.state for one in notices_of(ledger, "r-1")} == {NoticeState.SENT}


def test_a_name_that_is_part_of_another_is_left(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    before = held(ledger, "r-1")
    for part in ("oliv", "mia-o", "people.test", "nobody"):
        assert forget_person(ledger, part, later).relocations == []
    assert held(ledger, "r-1") == before


@pytest.mark.parametrize("name", ["claims", "owner", "accounts"])
def test_a_person_who_is_called_as_one_of_our_words_takes_no_facts_along(
    ledger: Engine, now: datetime, later: datetime, name: str
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    before = held(ledger, "r-1")
    assert forget_person(ledger, name, later).relocations == []
    assert held(ledger, "r-1") == before


def test_who_has_read_an_address_cannot_write_it_back(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    seen = get_relocation(ledger, "r-1")
    forget_person(ledger, MEMBER, later)
    assert take_hold(ledger, seen, worker="host:1", lease_seconds=60, now=utc_now()) is None


def test_a_name_with_an_accent_is_found_as_it_is_written(
    ledger: Engine, now: datetime, later: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now, owner="\u00c9lise"), now)
    sends(ledger, now)
    assert forget_person(ledger, "\u00c9lise", later).relocations == ["r-1"]
    assert not named(ledger, "\u00c9lise", address("\u00c9lise"))

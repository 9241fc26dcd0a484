"""A ledger from a backup does not know which mails went out since: none goes out unasked."""

from datetime import datetime, timedelta

import pytest
from ended import CREATOR, MEMBER, OWNER, address, do, drafts, ends, opened, sends, succeeds
from ledgers import at
from sqlalchemy import Engine
from task_results import result_of

from relocation.errors import FencedOut
from relocation.ledger.claims import dead_claims, newest_claims, replace_claims
from relocation.ledger.holds import hold_of, open_relocation, take_hold
from relocation.ledger.outbox import enqueue, notices_of, requeue
from relocation.ledger.relocations import get_relocation
from relocation.ledger.restoring import hold_back
from relocation.ledger.tables import NoticeState, utc_now
from relocation.ledger.tries import is_done, tries_of
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import POLICIES, Status, Task


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on SQLite and on PostgreSQL."""
    return either_ledger


def test_what_waits_is_held_back_until_a_person_asks_and_no_token_is_left(
    ledger: Engine, now: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    for held in (3, 0):
        done = hold_back(ledger)
        assert (done.notices, done.open_relocations) == (held, [])
    assert sends(ledger, now) == 0
    told = notices_of(ledger, "r-1")
    assert {one.state for one in told} == {NoticeState.UNKNOWN}
    assert not [one for one in told if "s3cr3t" in str(one.context)]
    assert requeue(ledger, "r-1", now=now).queued == 2
    assert sends(ledger, now) == 2


def test_what_goes_on_mails_nobody_by_itself_but_operators(ledger: Engine, now: datetime) -> None:
    before = opened(ledger, "r-1", now)
    do(ledger, before, result_of(Task.SCAN_EXPORT), now)
    assert hold_back(ledger).open_relocations == ["r-1"]
    hold = hold_of(open_relocation(ledger, "r-1", get_relocation(ledger, "r-1").request, at(now)))
    assert hold.fence > before.fence + 100, "the destination may have seen many"
    assert hold.round == before.round
    assert not is_done(ledger, "r-1", Task.SCAN_EXPORT), "its files may be gone"
    succeeds(ledger, hold, now)
    with ledger.begin() as connection:
        alert = NoticeDraft(NoticeKind.OPERATOR, "operator@mail.test")
        told = [alert, *drafts(NoticeKind.STARTED)]
        assert enqueue(connection, "r-1", 1, told, sender_domain="mail.test", now=now) == 3
    assert sends(ledger, now) == 1
    queued = {(one.kind, one.recipient): one for one in notices_of(ledger, "r-1")}
    assert queued.pop((NoticeKind.OPERATOR, "operator@mail.test")).state is NoticeState.SENT
    assert {one.state for one in queued.values()} == {NoticeState.UNKNOWN}
    assert {recipient for _, recipient in queued} == set(map(address, (OWNER, CREATOR, MEMBER)))
    assert not [one for one in queued.values() if "s3cr3t" in str(one.context)]
    assert requeue(ledger, "r-1", now=now).queued == 4
    assert sends(ledger, now) == 4


def test_one_that_had_failed_is_held_back_when_it_is_begun_again_and_a_new_one_is_not(
    ledger: Engine, now: datetime
) -> None:
    ends(ledger, opened(ledger, "r-1", now), Status.FAILURE, now)
    sends(ledger, now)
    hold_back(ledger)
    ends(ledger, opened(ledger, "r-1", now), Status.FAILURE, now + timedelta(hours=1))
    assert sends(ledger, now + timedelta(hours=1)) == 0
    ends(ledger, opened(ledger, "r-2", now), Status.FAILURE, now)
    assert sends(ledger, now) == 2


def test_a_link_that_was_held_back_is_renewed_when_a_person_asks(
    ledger: Engine, now: datetime
) -> None:
    succeeds(ledger, opened(ledger, "r-1", now), now)
    sends(ledger, now)
    hold_back(ledger)
    (claim,) = newest_claims(ledger, "r-1").values()
    reminded = dead_claims(ledger, reminders=3, now=now + timedelta(days=1))
    assert reminded == {}, "no sweep does it unasked"
    hold = take_hold(
        ledger, get_relocation(ledger, "r-1"), worker="host:1", lease_seconds=60, now=utc_now()
    )
    assert hold is not None
    new = NoticeDraft(
        NoticeKind.CLAIM, address(MEMBER), {"claim_url": "n3w"}, about=MEMBER, edition=claim.id
    )
    replace_claims(ledger, hold, [claim], [new], sender_domain="mail.test", now=now)
    assert sends(ledger, now) == 1


def test_holding_back_again_lets_no_process_go_on_without_its_work(
    ledger: Engine, now: datetime
) -> None:
    opened(ledger, "r-1", now)
    hold_back(ledger)
    request = get_relocation(ledger, "r-1").request
    at_work = hold_of(open_relocation(ledger, "r-1", request, at(now)))
    do(ledger, at_work, result_of(Task.SCAN_EXPORT), now)
    hold_back(ledger)
    assert not is_done(ledger, "r-1", Task.SCAN_EXPORT)
    with pytest.raises(FencedOut):
        do(ledger, at_work, result_of(Task.CAPTURE_BASELINE), now)
    next_one = hold_of(open_relocation(ledger, "r-1", request, at(now)))
    do(ledger, next_one, result_of(Task.SCAN_EXPORT), now)


def test_work_that_was_lost_uses_up_no_tries(ledger: Engine, now: datetime) -> None:
    opened(ledger, "r-1", now)
    request = get_relocation(ledger, "r-1").request
    for _ in range(POLICIES[Task.SCAN_EXPORT].tries + 1):
        hold_back(ledger)
        hold = hold_of(open_relocation(ledger, "r-1", request, at(now)))
        do(ledger, hold, result_of(Task.SCAN_EXPORT), now)
    numbers = [one.number for one in tries_of(ledger, "r-1")]
    assert numbers == list(range(1, len(numbers) + 1))

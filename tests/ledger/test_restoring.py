"""A ledger from a backup does not know which mails went out since: none goes out unasked."""

from datetime import datetime, timedelta

import pytest
from ended import CREATOR, MEMBER, OWNER, address, do, drafts, ends, opened, sends, succeeds
from sqlalchemy import Engine
from task_results import result_of

from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.outbox import enqueue, notices_of, requeue
from relocation.ledger.relocations import get_relocation
from relocation.ledger.restoring import hold_back
from relocation.ledger.tables import NoticeState
from relocation.ledger.tries import is_done
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import Status, Task


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
    hold = hold_of(open_relocation(ledger, "r-1", get_relocation(ledger, "r-1").request, now))
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

"""A relocation is settled once a round, with its notices or not at all."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.exc import StatementError

from relocation.database import database_time
from relocation.errors import MAX_REASON, PermanentError
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.settle import UNEXPLAINED, Settlement, settle
from relocation.ledger.tables import TryOutcome, relocations, utc_now
from relocation.ledger.tries import begin_try, tries_of
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task

Ask = Callable[..., RelocationRequest]
DOMAIN = "example.org"
OWNER = NoticeDraft(NoticeKind.FAILED, "olivia@example.org", {"reason": "The key is wrong."})
CREATOR = NoticeDraft(NoticeKind.FAILED, "carl@example.org", {"reason": "The key is wrong."})


def _settle(
    ledger: Engine,
    id_: str,
    settlement: Settlement,
    *,
    request: RelocationRequest | None = None,
    now: datetime | None = None,
) -> bool:
    """Settle as the process that holds the relocation."""
    seen = find_relocation(ledger, id_)
    own = hold_of(seen) if seen else None
    new = settle(
        ledger,
        id_,
        settlement,
        sender_domain=DOMAIN,
        seen=own,
        request=request,
        now=now or utc_now(),
    )
    return new is not None


def _failure(reason: str = "The key is wrong.", *drafts: NoticeDraft) -> Settlement:
    return Settlement(
        Status.FAILURE,
        reason,
        failed_task=Task.SCAN_EXPORT,
        internal_error="Traceback",
        drafts=drafts,
    )


def test_settling_stores_the_failure_with_its_notices(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """A-99."""
    assert _settle(ledger, "r-1", _failure("No.", OWNER, CREATOR), now=now)
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.status, relocation.settled_round) == (Status.FAILURE, 1)
    assert (relocation.reason, relocation.failed_task) == ("No.", Task.SCAN_EXPORT)
    assert (relocation.internal_error, relocation.settled_at) == ("Traceback", now)
    told = [(notice.kind, notice.recipient, notice.round) for notice in notices_of(ledger, "r-1")]
    assert told == [
        (NoticeKind.FAILED, OWNER.recipient, 1),
        (NoticeKind.FAILED, CREATOR.recipient, 1),
    ]


def test_settling_twice_is_one_settlement_and_one_set_of_notices(
    ledger: Engine, hold: Hold
) -> None:
    """A-99, R-10: failing mails once, whoever notices it."""
    assert _settle(ledger, "r-1", _failure("First.", OWNER))
    before = get_relocation(ledger, "r-1")
    assert not _settle(ledger, "r-1", _failure("Second.", OWNER, CREATOR))
    assert get_relocation(ledger, "r-1") == before
    assert [notice.recipient for notice in notices_of(ledger, "r-1")] == [OWNER.recipient]


def test_of_many_that_settle_at_once_one_does(ledger: Engine, hold: Hold) -> None:
    barrier = Barrier(5)

    def run(n: int) -> bool:
        barrier.wait()
        draft = NoticeDraft(NoticeKind.FAILED, f"{n}@example.org")
        return _settle(ledger, "r-1", _failure("No.", draft))

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(run, range(5))) == [False] * 4 + [True]
    assert len(notices_of(ledger, "r-1")) == 1


def test_each_round_is_settled_and_told_on_its_own(ledger: Engine, hold: Hold, ask: Ask) -> None:
    _settle(ledger, "r-1", _failure("First.", OWNER))
    open_relocation(ledger, "r-1", ask(), database_time)
    assert _settle(ledger, "r-1", _failure("Second.", OWNER))
    assert get_relocation(ledger, "r-1").reason == "Second."
    assert [notice.round for notice in notices_of(ledger, "r-1")] == [1, 2]


def test_a_very_long_reason_is_stored_within_bounds(ledger: Engine, hold: Hold) -> None:
    """W-4: a reason that could not be stored left the relocation in progress for ever."""
    reason = "Not in the export: " + "slug, " * 2000
    assert len(reason) > 10_000
    assert _settle(ledger, "r-1", _failure(reason, OWNER))
    stored = get_relocation(ledger, "r-1")
    assert stored.status is Status.FAILURE
    assert stored.reason is not None
    assert stored.reason.startswith("Not in the export: slug, ")
    assert len(stored.reason) <= MAX_REASON


@pytest.mark.parametrize("empty", ["", "  \n ", "\u202e\0"])
def test_an_empty_reason_becomes_the_sentence_of_the_task(
    ledger: Engine, hold: Hold, empty: str
) -> None:
    """W-3, B-1."""
    _settle(ledger, "r-1", _failure(empty))
    assert get_relocation(ledger, "r-1").reason == POLICIES[Task.SCAN_EXPORT].reason


def test_an_empty_reason_without_a_task_becomes_a_sentence_too(ledger: Engine, hold: Hold) -> None:
    """W-3, B-1."""
    _settle(ledger, "r-1", Settlement(Status.FAILURE, ""))
    assert get_relocation(ledger, "r-1").reason == UNEXPLAINED


def test_an_internal_error_that_no_database_likes_is_stored(ledger: Engine, hold: Hold) -> None:
    bad = Settlement(Status.FAILURE, "No.", internal_error="\0\ud800" * 20_000)
    assert _settle(ledger, "r-1", bad)
    stored = get_relocation(ledger, "r-1").internal_error
    assert stored is not None
    assert 0 < len(stored) <= 20_000


def test_settling_interrupts_the_try_that_was_open(ledger: Engine, hold: Hold) -> None:
    begin_try(ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "host:1", now=utc_now())
    _settle(ledger, "r-1", _failure())
    (ended,) = tries_of(ledger, "r-1")
    assert ended.outcome is TryOutcome.INTERRUPTED
    assert ended.ended_at is not None


def test_a_notice_that_cannot_be_stored_leaves_the_relocation_unsettled(
    ledger: Engine, hold: Hold
) -> None:
    """W-44: state and notices are one transaction."""
    begin_try(ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "host:1", now=utc_now())
    before = get_relocation(ledger, "r-1")
    broken = NoticeDraft(NoticeKind.FAILED, "carl@example.org", {"not": object()})
    with pytest.raises(StatementError):
        _settle(ledger, "r-1", _failure("No.", OWNER, broken))
    assert get_relocation(ledger, "r-1") == before
    assert notices_of(ledger, "r-1") == []
    assert _settle(ledger, "r-1", _failure("No.", OWNER, CREATOR))


def test_a_run_refused_before_it_opened_is_settled_from_its_request(
    ledger: Engine, hold: Hold
) -> None:
    """B-1; its owner's active relocation does not stand in the way (B-9)."""
    bad = RelocationRequest(archive="\0", organizations=[], owner="olivia")
    settled = _settle(ledger, "r-2", _failure("No.", OWNER), request=bad)
    assert settled
    relocation = get_relocation(ledger, "r-2")
    assert (relocation.status, relocation.round, relocation.settled_round) == (
        Status.FAILURE,
        1,
        1,
    )
    assert len(notices_of(ledger, "r-2")) == 1
    assert get_relocation(ledger, "r-1").status is Status.IN_PROGRESS


def test_runs_refused_without_any_owner_are_settled_one_beside_the_other(ledger: Engine) -> None:
    nothing = RelocationRequest(archive="", organizations=[], owner="")
    for id_ in ("r-1", "r-2"):
        assert _settle(ledger, id_, _failure("No.", OWNER), request=nothing)
    assert len(notices_of(ledger, "r-1") + notices_of(ledger, "r-2")) == 2


def test_a_request_changes_nothing_about_a_relocation_that_exists(
    ledger: Engine, hold: Hold, ask: Ask
) -> None:
    _settle(ledger, "r-1", _failure(), request=ask("noah", "other"))
    assert get_relocation(ledger, "r-1").request == ask()


def test_a_relocation_settled_from_its_request_can_be_begun_again(ledger: Engine, ask: Ask) -> None:
    _settle(ledger, "r-1", _failure("No.", OWNER), request=ask())
    assert hold_of(open_relocation(ledger, "r-1", ask(), database_time)) == Hold("r-1", 2, 1)


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.CANCELLED])
def test_what_ended_for_good_is_never_settled_again(
    ledger: Engine, hold: Hold, status: Status
) -> None:
    """A-95."""
    with ledger.begin() as connection:
        connection.execute(update(relocations).values(status=status))
    assert not _settle(ledger, "r-1", _failure("No.", OWNER))
    assert get_relocation(ledger, "r-1").status is status
    assert notices_of(ledger, "r-1") == []


def test_an_unknown_relocation_without_a_request_is_an_error(ledger: Engine) -> None:
    with pytest.raises(PermanentError, match="no such relocation"):
        _settle(ledger, "r-9", _failure())
    assert find_relocation(ledger, "r-9") is None


def test_success_is_not_settled_here() -> None:
    with pytest.raises(ValueError, match="SUCCESS"):
        Settlement(Status.SUCCESS, "Well done.")

"""Tries are counted across processes, and a task is done with its notices or not at all."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import StatementError
from task_results import COMPLETED, result_of

from relocation.database import database_time
from relocation.errors import (
    NOTHING_TO_DO,
    FencedOut,
    MissingArchiveError,
    StaleWorkError,
    TriesUsedUpError,
)
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.results import BaselineCaptured, ExportScanned, RelocationCompleted
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import TryOutcome, utc_now
from relocation.ledger.tries import (
    begin_try,
    complete_task,
    done_result,
    end_try,
    is_done,
    needed_result,
    succeed,
    tries_of,
    tries_used,
    was_tried,
)
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Step, Task

SCAN = Task.SCAN_EXPORT
DOMAIN = "example.org"


def _settle(ledger: Engine, id_: str, settlement: Settlement) -> bool:
    """Settle as the process that holds the relocation."""
    seen = find_relocation(ledger, id_)
    own = hold_of(seen) if seen else None
    new = settle(ledger, id_, settlement, sender_domain=DOMAIN, seen=own, now=utc_now())
    return new is not None


def _begin(ledger: Engine, hold: Hold, task: Task = SCAN) -> int:
    return begin_try(ledger, hold, task, POLICIES[SCAN], "host:1", now=utc_now())


def _outcomes(ledger: Engine) -> list[TryOutcome | None]:
    return [one.outcome for one in tries_of(ledger, "r-1")]


def _errors(ledger: Engine) -> list[str | None]:
    return [one.error for one in tries_of(ledger, "r-1")]


def test_beginning_a_try_shows_where_the_relocation_is(ledger: Engine, hold: Hold) -> None:
    assert _begin(ledger, hold) == 1
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.step, relocation.task) == (Step.PREPROCESSING, SCAN)


def test_when_the_tries_are_used_up_the_last_that_could_tell_says_why(
    ledger: Engine, hold: Hold
) -> None:
    """An interruption tells nothing, and must not hide what its owner can mend."""
    missing = MissingArchiveError("There is no archive a.tar; upload it again.")
    number = _begin(ledger, hold)
    end_try(ledger, hold, SCAN, number, TryOutcome.FAILED, error="", cause=missing, now=utc_now())
    for _ in range(POLICIES[SCAN].tries - 1):
        _begin(ledger, hold)
    with pytest.raises(TriesUsedUpError) as used_up:
        _begin(ledger, hold)
    assert used_up.value.reason == missing.reason
    assert used_up.value.next_step == missing.next_step
    assert TriesUsedUpError("Ours.").next_step == NOTHING_TO_DO


def test_when_the_tries_are_used_up_a_later_fault_of_ours_counts_more(
    ledger: Engine, hold: Hold
) -> None:
    for cause in (MissingArchiveError("There is no archive."), OSError("the disk is away")) * 2:
        number = _begin(ledger, hold)
        end_try(ledger, hold, SCAN, number, TryOutcome.FAILED, error="", cause=cause, now=utc_now())
    with pytest.raises(TriesUsedUpError) as used_up:
        _begin(ledger, hold)
    assert used_up.value.reason == POLICIES[SCAN].reason
    assert used_up.value.next_step == NOTHING_TO_DO


def test_the_same_task_again_counts_up(ledger: Engine, hold: Hold) -> None:
    """A-97."""
    for number in (1, 2, 3):
        assert _begin(ledger, hold) == number
        assert end_try(
            ledger, hold, SCAN, number, TryOutcome.FAILED, error="refused", now=utc_now()
        )
    assert tries_used(ledger, "r-1", 1, SCAN) == 3
    assert tries_used(ledger, "r-1", 1, Task.RECEIVE_ARCHIVE) == 0


def test_a_try_of_a_process_that_went_away_is_used_up(
    ledger: Engine, hold: Hold, ask: Callable[..., RelocationRequest]
) -> None:
    """A task that keeps killing its worker runs out of tries as well (DESIGN 6.1)."""
    _begin(ledger, hold)
    successor = hold_of(open_relocation(ledger, "r-1", ask(), database_time))
    assert tries_used(ledger, "r-1", 1, SCAN) == 1
    assert _begin(ledger, successor) == 2
    assert _outcomes(ledger) == [TryOutcome.INTERRUPTED, None]


def test_the_tries_of_all_rounds_are_read_in_the_order_they_began(
    ledger: Engine, hold: Hold, ask: Callable[..., RelocationRequest], now: datetime
) -> None:
    asked = [(Task.RECEIVE_ARCHIVE, 0), (SCAN, 1), (SCAN, 2)]
    for task, minute in asked:
        began = now + timedelta(minutes=minute)
        begin_try(ledger, hold, task, POLICIES[SCAN], "host:1", now=began)
    _settle(ledger, "r-1", Settlement(Status.FAILURE, "No."))
    second = hold_of(open_relocation(ledger, "r-1", ask(), database_time))
    begin_try(ledger, second, SCAN, POLICIES[SCAN], "host:2", now=now)
    tries = tries_of(ledger, "r-1")
    assert [(one.round, one.task, one.number) for one in tries] == [
        (1, Task.RECEIVE_ARCHIVE, 1),
        (1, SCAN, 1),
        (1, SCAN, 2),
        (2, SCAN, 1),
    ]
    assert (tries[3].worker, tries[3].started_at, tries[3].ended_at) == ("host:2", now, None)
    assert tries_of(ledger, "r-2") == []


def test_a_new_round_renews_the_tries(
    ledger: Engine, hold: Hold, ask: Callable[..., RelocationRequest]
) -> None:
    _begin(ledger, hold)
    _settle(ledger, "r-1", Settlement(Status.FAILURE, "No."))
    second = hold_of(open_relocation(ledger, "r-1", ask(), database_time))
    assert tries_used(ledger, "r-1", 2, SCAN) == 0
    assert _begin(ledger, second) == 1
    assert was_tried(ledger, "r-1", SCAN)
    assert not was_tried(ledger, "r-1", Task.IMPORT_ORGANIZATIONS)


def test_a_failed_try_keeps_its_error_within_bounds(ledger: Engine, hold: Hold) -> None:
    _begin(ledger, hold)
    end_try(
        ledger,
        hold,
        SCAN,
        1,
        TryOutcome.FAILED,
        error="Traceback\n" * 9000 + "OSError: disk",
        now=utc_now(),
    )
    (error,) = _errors(ledger)
    assert error is not None
    assert len(error) <= 20_000
    assert error.endswith("OSError: disk")
    assert get_relocation(ledger, "r-1").status is Status.IN_PROGRESS


def test_a_try_ends_once(ledger: Engine, hold: Hold) -> None:
    _begin(ledger, hold)
    complete_task(ledger, hold, 1, result_of(SCAN), sender_domain=DOMAIN, now=utc_now())
    assert not end_try(
        ledger, hold, SCAN, 1, TryOutcome.FAILED, error="after the commit", now=utc_now()
    )
    assert _outcomes(ledger) == [TryOutcome.DONE]
    assert _errors(ledger) == [None]


def test_a_task_is_done_with_its_result_and_notices(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """B-2: the state and what follows from it commit together."""
    _begin(ledger, hold)
    assert not is_done(ledger, "r-1", SCAN)
    scanned = ExportScanned((), ("olivia",), {}, {}, {}, ())
    started = [NoticeDraft(NoticeKind.STARTED, "olivia@example.org", {"owner": "olivia"})]
    complete_task(ledger, hold, 1, scanned, drafts=started, sender_domain=DOMAIN, now=now)
    assert done_result(ledger, "r-1", ExportScanned) == scanned
    assert [notice.kind for notice in notices_of(ledger, "r-1")] == [NoticeKind.STARTED]
    assert _outcomes(ledger) == [TryOutcome.DONE]


def test_a_task_whose_result_says_nothing_is_done_all_the_same(ledger: Engine, hold: Hold) -> None:
    _begin(ledger, hold, Task.CAPTURE_BASELINE)
    complete_task(ledger, hold, 1, BaselineCaptured(), sender_domain=DOMAIN, now=utc_now())
    assert done_result(ledger, "r-1", BaselineCaptured) == BaselineCaptured()


def test_what_a_later_task_builds_on_is_never_taken_for_empty(ledger: Engine, hold: Hold) -> None:
    with pytest.raises(StaleWorkError, match="no result of scan_export"):
        needed_result(ledger, hold.relocation_id, ExportScanned)


@pytest.mark.parametrize("last", [False, True])
def test_a_notice_that_cannot_be_stored_leaves_the_task_undone(
    ledger: Engine, hold: Hold, last: bool
) -> None:
    """W-44: never a state that says done while its notices are lost."""
    task = Task.COMPLETE if last else SCAN
    _begin(ledger, hold, task)
    drafts = [
        NoticeDraft(NoticeKind.SUCCEEDED, "olivia@example.org"),
        NoticeDraft(NoticeKind.SUCCEEDED, "carl@example.org", {"not": object()}),
    ]
    with pytest.raises(StatementError):
        if last:
            succeed(ledger, hold, 1, COMPLETED, drafts=drafts, sender_domain=DOMAIN, now=utc_now())
        else:
            complete_task(
                ledger, hold, 1, result_of(task), drafts=drafts, sender_domain=DOMAIN, now=utc_now()
            )
    assert not is_done(ledger, "r-1", task)
    assert notices_of(ledger, "r-1") == []
    assert _outcomes(ledger) == [None]
    assert get_relocation(ledger, "r-1").status is Status.IN_PROGRESS


def test_the_last_task_ends_the_relocation_in_success(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    _begin(ledger, hold, Task.COMPLETE)
    told = [NoticeDraft(NoticeKind.SUCCEEDED, "olivia@example.org")]
    moved = RelocationCompleted(("acme",), claims=1)
    succeed(ledger, hold, 1, moved, drafts=told, sender_domain=DOMAIN, now=now)
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.status, relocation.settled_round) == (Status.SUCCESS, 1)
    assert relocation.settled_at == now
    assert done_result(ledger, "r-1", RelocationCompleted) == moved
    assert len(notices_of(ledger, "r-1")) == 1


def test_success_cannot_be_turned_into_failure(ledger: Engine, hold: Hold) -> None:
    """W-42."""
    number = _begin(ledger, hold, Task.COMPLETE)
    succeed(ledger, hold, number, COMPLETED, sender_domain=DOMAIN, now=utc_now())
    failure = Settlement(
        Status.FAILURE, "No.", drafts=[NoticeDraft(NoticeKind.FAILED, "olivia@example.org")]
    )
    assert not _settle(ledger, "r-1", failure)
    assert get_relocation(ledger, "r-1").status is Status.SUCCESS
    assert notices_of(ledger, "r-1") == []


def test_a_process_that_was_fenced_out_writes_nothing(
    ledger: Engine, hold: Hold, ask: Callable[..., RelocationRequest]
) -> None:
    """DESIGN 6.6."""
    _begin(ledger, hold)
    open_relocation(ledger, "r-1", ask(), database_time)
    with pytest.raises(FencedOut):
        _begin(ledger, hold)
    with pytest.raises(FencedOut):
        end_try(ledger, hold, SCAN, 1, TryOutcome.FAILED, error="late", now=utc_now())
    with pytest.raises(FencedOut):
        complete_task(ledger, hold, 1, result_of(SCAN), sender_domain=DOMAIN, now=utc_now())
    with pytest.raises(FencedOut):
        succeed(ledger, hold, 1, COMPLETED, sender_domain=DOMAIN, now=utc_now())
    assert _outcomes(ledger) == [None]
    assert not is_done(ledger, "r-1", SCAN)


def test_a_try_that_was_overtaken_under_the_same_hold_is_not_done(
    ledger: Engine, hold: Hold
) -> None:
    _begin(ledger, hold)
    _begin(ledger, hold)
    with pytest.raises(FencedOut):
        complete_task(ledger, hold, 1, result_of(SCAN), sender_domain=DOMAIN, now=utc_now())
    assert not is_done(ledger, "r-1", SCAN)
    complete_task(ledger, hold, 2, result_of(SCAN), sender_domain=DOMAIN, now=utc_now())
    assert _outcomes(ledger) == [TryOutcome.INTERRUPTED, TryOutcome.DONE]

"""Working files go round by round, and what is left of them is known until it is gone."""

from collections.abc import Callable
from datetime import datetime, timedelta

from ledgers import at
from sqlalchemy import Engine
from task_results import result_of

from relocation.ledger.history import history_of
from relocation.ledger.holds import Hold, hold_of, open_relocation, take_hold
from relocation.ledger.relocations import get_relocation
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import utc_now
from relocation.ledger.transitions import begin_roll_back
from relocation.ledger.tries import begin_try, complete_task, done_round, is_done
from relocation.ledger.worklist import (
    Discard,
    begin_discarding,
    end_discarding,
    to_discard,
    with_old_files,
)
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, LifecycleEvent, Status, Task

DOMAIN = "example.org"
Ask = Callable[..., RelocationRequest]


def do(ledger: Engine, hold: Hold, *tasks: Task) -> None:
    for task in tasks:
        number = begin_try(ledger, hold, task, POLICIES[task], "host:1", now=utc_now())
        complete_task(ledger, hold, number, result_of(task), sender_domain=DOMAIN, now=utc_now())


def fail(ledger: Engine, hold: Hold, now: datetime) -> None:
    failed = Settlement(Status.FAILURE, "It failed.")
    assert settle(ledger, "r-1", failed, sender_domain=DOMAIN, seen=hold, now=now)


def discarded(ledger: Engine) -> list[int]:
    return [
        one.round for one in history_of(ledger, "r-1") if one.what is LifecycleEvent.FILES_DISCARDED
    ]


def test_files_that_are_to_go_are_known_until_they_are_gone(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    fail(ledger, hold, now)
    later = now + timedelta(days=1)
    assert with_old_files(ledger, later) == ["r-1"]
    assert begin_discarding(ledger, "r-1")
    left = [Discard("r-1", 1, 1)]
    assert to_discard(ledger) == to_discard(ledger) == to_discard(ledger, "r-1") == left
    assert with_old_files(ledger, later) == []
    assert not begin_discarding(ledger, "r-1")
    assert discarded(ledger) == []
    for _ in range(2):
        end_discarding(ledger, left[0], now)
    assert to_discard(ledger) == []
    assert discarded(ledger) == [1]


def test_files_of_a_relocation_at_work_stay(ledger: Engine, hold: Hold) -> None:
    assert not begin_discarding(ledger, hold.relocation_id)
    assert to_discard(ledger) == []


def test_a_new_round_keeps_its_files_while_those_of_the_old_one_go(
    ledger: Engine, hold: Hold, ask: Ask, now: datetime
) -> None:
    do(ledger, hold, Task.SCAN_EXPORT)
    fail(ledger, hold, now)
    begin_discarding(ledger, "r-1")
    again = hold_of(open_relocation(ledger, "r-1", ask(), at(now)))
    assert not is_done(ledger, "r-1", Task.SCAN_EXPORT)
    do(ledger, again, Task.SCAN_EXPORT)
    assert to_discard(ledger) == [Discard("r-1", 1, 1)]
    end_discarding(ledger, Discard("r-1", 1, 1), now)
    assert done_round(ledger, "r-1", Task.SCAN_EXPORT) == 2
    assert to_discard(ledger) == []
    fail(ledger, again, now)
    assert begin_discarding(ledger, "r-1")
    assert to_discard(ledger) == [Discard("r-1", 2, 2)]


def test_what_was_done_in_an_earlier_round_is_found_there(
    ledger: Engine, hold: Hold, ask: Ask, now: datetime
) -> None:
    do(ledger, hold, Task.SCAN_EXPORT)
    fail(ledger, hold, now)
    again = hold_of(open_relocation(ledger, "r-1", ask(), at(now)))
    assert again.round == 2
    assert done_round(ledger, "r-1", Task.SCAN_EXPORT) == 1
    assert done_round(ledger, "r-1", Task.CAPTURE_BASELINE) is None


def test_what_was_imported_stays_known_and_only_the_files_are_made_again(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    """Else a relocation that is visible would seem hidden; and the last task needs the files."""
    do(ledger, hold, *list(Task)[: list(Task).index(Task.COMPLETE)])
    fail(ledger, hold, now)
    begin_discarding(ledger, "r-1")
    left = {task for task in Task if is_done(ledger, "r-1", task)}
    files = {Task.EXPORT_SOURCE, Task.SCAN_EXPORT}
    files |= {Task.CAPTURE_BASELINE, Task.CAPTURE_COLLIDING_USERS}
    assert left == set(Task) - files - {Task.COMPLETE}


def test_once_rolled_back_without_its_files_a_rerun_begins_with_the_archive(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    do(ledger, hold, Task.SCAN_EXPORT, Task.IMPORT_ORGANIZATIONS)
    fail(ledger, hold, now)
    begin_discarding(ledger, "r-1")
    stored = get_relocation(ledger, "r-1")
    undoing = take_hold(ledger, stored, lease_seconds=30, worker="host:2", now=now)
    assert undoing is not None
    begin_roll_back(ledger, undoing, cancels=False, now=now)
    assert not is_done(ledger, "r-1", Task.IMPORT_ORGANIZATIONS)
    assert not is_done(ledger, "r-1", Task.SCAN_EXPORT)


def test_once_rolled_back_with_its_files_a_rerun_begins_with_the_import(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    do(ledger, hold, Task.SCAN_EXPORT, Task.IMPORT_ORGANIZATIONS)
    fail(ledger, hold, now)
    stored = get_relocation(ledger, "r-1")
    undoing = take_hold(ledger, stored, lease_seconds=30, worker="host:2", now=now)
    assert undoing is not None
    begin_roll_back(ledger, undoing, cancels=False, now=now)
    assert not is_done(ledger, "r-1", Task.IMPORT_ORGANIZATIONS)
    assert is_done(ledger, "r-1", Task.SCAN_EXPORT)

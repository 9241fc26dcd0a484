"""Who may open a relocation, and what becomes of its round and its fence."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier, Thread

import pytest
from ledgers import at
from sqlalchemy import Engine, update

from relocation.database import database_time
from relocation.errors import FencedOut, OwnerBusyError, PermanentError
from relocation.ledger.admission import record_people
from relocation.ledger.history import history_of
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import find_relocation, get_relocation, list_relocations
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import relocations, utc_now
from relocation.ledger.tries import begin_try, tries_used
from relocation.model import Relocation
from relocation.request import RelocationRequest
from relocation.steps import ACTIVE, POLICIES, LifecycleEvent, Status, Step, Task

Ask = Callable[..., RelocationRequest]

DOMAIN = "example.org"


def _settle(ledger: Engine, id_: str, settlement: Settlement) -> bool:
    """Settle as the process that holds the relocation."""
    seen = find_relocation(ledger, id_)
    own = hold_of(seen) if seen else None
    new = settle(ledger, id_, settlement, sender_domain=DOMAIN, seen=own, now=utc_now())
    return new is not None


def _fail(ledger: Engine, relocation_id: str = "r-1") -> None:
    failure = Settlement(
        Status.FAILURE, "The key is wrong.", failed_task=Task.SCAN_EXPORT, internal_error="Trace"
    )
    assert _settle(ledger, relocation_id, failure)


def _set_status(ledger: Engine, status: Status) -> None:
    with ledger.begin() as connection:
        connection.execute(update(relocations).values(status=status))


def test_a_new_relocation_begins_with_its_first_round_and_fence(
    ledger: Engine, ask: Ask, now: datetime
) -> None:
    opened = open_relocation(ledger, "r-1", ask(), at(now))
    assert (opened.status, opened.step) == (Status.IN_PROGRESS, Step.UPLOADING)
    assert (opened.round, opened.settled_round, opened.fence) == (1, 0, 1)
    assert hold_of(opened) == Hold("r-1", 1, 1)
    assert opened.request == ask()
    assert opened.created_at == opened.updated_at == now
    assert vars(opened) == vars(get_relocation(ledger, "r-1")) | {"event": LifecycleEvent.OPENED}


@pytest.mark.parametrize("status", ACTIVE)
def test_an_active_relocation_is_taken_over_in_its_round(
    ledger: Engine, ask: Ask, hold: Hold, status: Status
) -> None:
    begin_try(ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "host:1", now=utc_now())
    _set_status(ledger, status)
    opened = open_relocation(ledger, "r-1", ask(), database_time)
    assert opened.status is Status.IN_PROGRESS
    assert hold_of(opened) == Hold("r-1", 1, 2)
    assert opened.task is Task.SCAN_EXPORT


def test_taking_over_fences_the_process_before_out(ledger: Engine, ask: Ask, hold: Hold) -> None:
    open_relocation(ledger, "r-1", ask(), database_time)
    with pytest.raises(FencedOut):
        record_people(ledger, hold, "late@example.org", None, utc_now())
    assert get_relocation(ledger, "r-1").owner_email is None


def test_a_failed_relocation_begins_a_new_round_without_the_old_reason(
    ledger: Engine, ask: Ask, hold: Hold
) -> None:
    """W-8: recovering keeps no reason of the failure that it leaves behind."""
    begin_try(ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "host:1", now=utc_now())
    _fail(ledger)
    opened = open_relocation(ledger, "r-1", ask(), database_time)
    assert hold_of(opened) == Hold("r-1", 2, 2)
    assert opened.status is Status.IN_PROGRESS
    assert opened.settled_round == 1
    assert (opened.reason, opened.failed_task, opened.internal_error) == (None, None, None)
    assert (opened.task, opened.settled_at) == (None, None)


@pytest.mark.parametrize(
    ("status", "words"), [(Status.SUCCESS, "succeeded"), (Status.CANCELLED, "cancelled")]
)
def test_a_relocation_that_ended_for_good_is_not_opened(
    ledger: Engine, ask: Ask, hold: Hold, status: Status, words: str
) -> None:
    """A-95: nothing happens."""
    _set_status(ledger, status)
    before = get_relocation(ledger, "r-1")
    with pytest.raises(PermanentError, match=words):
        open_relocation(ledger, "r-1", ask(), database_time)
    assert get_relocation(ledger, "r-1") == before


def test_an_owner_with_an_active_relocation_gets_no_second_one(
    ledger: Engine, ask: Ask, hold: Hold
) -> None:
    """B-9; the refusal can be settled, and so told, like any other failure (B-1)."""
    with pytest.raises(PermanentError, match=r"owner \(r-1\) hasn't finished") as refusal:
        open_relocation(ledger, "r-2", ask(slug="other"), database_time)
    assert "try again" in refusal.value.next_step
    refused = get_relocation(ledger, "r-2")
    assert (refused.status, refused.round, refused.settled_round) == (Status.FAILURE, 1, 0)
    assert get_relocation(ledger, "r-1").fence == hold.fence
    _fail(ledger, "r-2")


def test_another_owner_is_not_kept_waiting(ledger: Engine, ask: Ask, hold: Hold) -> None:
    assert open_relocation(ledger, "r-2", ask("noah"), database_time).status is Status.IN_PROGRESS


def test_a_failed_relocation_is_not_begun_again_beside_an_active_one(
    ledger: Engine, ask: Ask, hold: Hold
) -> None:
    """W-8, W-9: the new round is refused, and its refusal is still to be told."""
    _fail(ledger)
    open_relocation(ledger, "r-2", ask(), database_time)
    with pytest.raises(PermanentError, match="r-2"):
        open_relocation(ledger, "r-1", ask(), database_time)
    refused = get_relocation(ledger, "r-1")
    assert (refused.status, refused.round, refused.settled_round) == (Status.FAILURE, 2, 1)
    assert refused.fence > hold.fence
    assert refused.failed_task is None
    _fail(ledger)


def test_a_refused_relocation_opens_once_the_other_has_ended(
    ledger: Engine, ask: Ask, hold: Hold
) -> None:
    with pytest.raises(PermanentError):
        open_relocation(ledger, "r-2", ask(), database_time)
    _fail(ledger, "r-1")
    assert open_relocation(ledger, "r-2", ask(), database_time).status is Status.IN_PROGRESS


def _race(jobs: list[Callable[[], Relocation]]) -> tuple[list[Relocation], list[BaseException]]:
    opened: list[Relocation] = []
    errors: list[BaseException] = []
    barrier = Barrier(len(jobs))

    def run(job: Callable[[], Relocation]) -> None:
        try:
            barrier.wait()
            opened.append(job())
        except BaseException as err:  # noqa: BLE001 - handed to the test's own thread
            errors.append(err)

    threads = [Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return opened, errors


def test_of_many_requests_at_once_for_one_owner_one_is_active(ledger: Engine, ask: Ask) -> None:
    """W-9: check-then-insert would let several pass."""
    ids = [f"r-{n}" for n in range(6)]
    opened, errors = _race(
        [partial(open_relocation, ledger, id_, ask(), database_time) for id_ in ids]
    )
    assert len(opened) == 1
    assert [type(error) for error in errors] == [OwnerBusyError] * 5
    assert all(opened[0].id in str(error) for error in errors)
    assert [one.id for one in list_relocations(ledger, status=Status.IN_PROGRESS)] == [opened[0].id]


def test_of_many_openings_of_one_relocation_each_has_its_own_fence(
    ledger: Engine, ask: Ask
) -> None:
    opened, errors = _race([lambda: open_relocation(ledger, "r-1", ask(), database_time)] * 6)
    assert errors == []
    assert sorted(one.fence for one in opened) == [1, 2, 3, 4, 5, 6]
    assert {one.round for one in opened} == {1}


def test_a_request_that_breaks_every_bound_is_opened_and_can_still_be_refused(
    ledger: Engine, now: datetime
) -> None:
    """B-1: the check that gives the reason comes after opening."""
    bad = RelocationRequest(
        archive="x" * 5000, organizations=["\ud800\0", "y" * 500], owner="o\0" * 400, creator=""
    )
    opened = open_relocation(ledger, "r-1", bad, at(now + timedelta(days=1)))
    assert len(opened.request.archive) > 500
    assert len(opened.request.owner) > 128
    assert opened.organizations[1] == "y" * 500


def test_an_unknown_relocation_is_not_found(ledger: Engine) -> None:
    """A-95."""
    assert find_relocation(ledger, "r-9") is None
    with pytest.raises(PermanentError, match="no such relocation"):
        get_relocation(ledger, "r-9")


def test_a_relocation_prints_no_address(ledger: Engine, ask: Ask, hold: Hold) -> None:
    record_people(ledger, hold, "olivia@example.org", "carl@example.org", utc_now())
    assert "@" not in repr(get_relocation(ledger, "r-1"))


def test_what_only_reads_waits_for_no_writer(file_ledger: Engine, ask: Ask) -> None:
    """On SQLite a transaction that begins as a writer's would wait until this one ends."""
    open_relocation(file_ledger, "r-1", ask(), database_time)
    with file_ledger.begin() as writer:
        writer.execute(update(relocations).values(fence=7))
        assert get_relocation(file_ledger, "r-1").fence == 1
        assert history_of(file_ledger, "r-1")
        assert tries_used(file_ledger, "r-1", 1, Task.SCAN_EXPORT) == 0

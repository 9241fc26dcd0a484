"""When a process may go on: its lease is kept while it works, and lost to a successor."""

import threading
from datetime import datetime

from sqlalchemy import Engine
from task_results import COMPLETED

from relocation.ledger.holds import Hold, take_hold
from relocation.ledger.leases import LeaseKeeper
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import utc_now
from relocation.ledger.tries import begin_try, succeed
from relocation.steps import POLICIES, Task

SOON = 60.0


def _keeper(ledger: Engine, hold: Hold, lost: threading.Event) -> LeaseKeeper:
    return LeaseKeeper(ledger, hold, every=0.01, lease_seconds=30, lost=lost.set)


def test_a_process_that_has_succeeded_is_not_told_that_it_lost_its_relocation(
    ledger: Engine, hold: Hold
) -> None:
    lost = threading.Event()
    number = begin_try(
        ledger, hold, Task.COMPLETE, POLICIES[Task.COMPLETE], "worker", now=utc_now()
    )
    with _keeper(ledger, hold, lost):
        succeed(ledger, hold, number, COMPLETED, sender_domain="example.org", now=utc_now())
        assert not lost.wait(0.3)
    assert get_relocation(ledger, hold.relocation_id).lease_until is None


def test_a_process_whose_relocation_was_taken_over_is_told(
    ledger: Engine, hold: Hold, now: datetime
) -> None:
    lost = threading.Event()
    taken = take_hold(ledger, hold, lease_seconds=30, worker="b", now=now)
    assert taken is not None
    with _keeper(ledger, hold, lost):
        assert lost.wait(SOON)

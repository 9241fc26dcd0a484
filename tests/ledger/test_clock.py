"""Leases run by the ledger's clock: what a worker's own clock says does not matter."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from sqlalchemy import Engine, select

from relocation import database
from relocation.database import database_now, database_time
from relocation.ledger.holds import Hold, hold_of, open_relocation, renew, take_hold
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import relocations
from relocation.ledger.worklist import abandoned
from relocation.request import RelocationRequest

Ask = Callable[..., RelocationRequest]
LEASE = timedelta(seconds=30)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine's clock be a day late."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(datetime.now(tz).timestamp(), tz) - timedelta(days=1)

    monkeypatch.setattr(database, "datetime", Late)


@pytest.fixture
def held(postgres_ledger: Engine, ask: Ask) -> Hold:
    """The hold of a relocation that was opened by the ledger's clock."""
    return hold_of(open_relocation(postgres_ledger, "r-1", ask(), database_time))


def close_to_now(time: datetime | None) -> bool:
    assert time is not None
    return abs(time - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_lease_begins_and_is_kept_by_the_ledgers_clock(
    postgres_ledger: Engine, wrong: None, held: Hold
) -> None:
    opened = get_relocation(postgres_ledger, "r-1")
    assert close_to_now(opened.held_since)
    assert close_to_now(opened.lease_until)
    renew(postgres_ledger, held, 30, database_time)
    assert close_to_now(get_relocation(postgres_ledger, "r-1").lease_until)
    assert abandoned(postgres_ledger, database_now(postgres_ledger)) == []


def test_a_hold_is_taken_by_the_ledgers_clock(
    postgres_ledger: Engine, wrong: None, held: Hold
) -> None:
    seen, now = get_relocation(postgres_ledger, "r-1"), database_now(postgres_ledger)
    assert take_hold(postgres_ledger, seen, lease_seconds=30, worker="b", now=now) is None
    assert take_hold(postgres_ledger, held, lease_seconds=30, worker="b", now=now)
    assert close_to_now(get_relocation(postgres_ledger, "r-1").lease_until)


def test_the_time_is_that_of_the_moment_and_not_of_the_transaction(
    postgres_ledger: Engine,
) -> None:
    with postgres_ledger.begin() as connection:
        first = database_time(connection)
        assert database_time(connection) > first


def test_a_lease_is_as_long_as_it_is_meant_though_its_row_was_locked(
    postgres_ledger: Engine, held: Hold
) -> None:
    """The time is read when the lock is had, not before."""
    waits = threading.Thread(
        target=renew, args=(postgres_ledger, held, LEASE.total_seconds(), database_time)
    )
    with postgres_ledger.begin() as connection:
        row = select(relocations).where(relocations.c.id == "r-1").with_for_update()
        connection.execute(row)
        waits.start()
        waits.join(0.5)
        assert waits.is_alive()  # it cannot have the lock before this transaction ends
        freed = database_time(connection)
    waits.join()
    until = get_relocation(postgres_ledger, "r-1").lease_until
    assert until is not None
    assert until >= freed + LEASE


def test_a_ledger_in_a_file_has_the_clock_of_its_machine(ledger: Engine) -> None:
    assert close_to_now(database_now(ledger))

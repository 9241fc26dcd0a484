"""One sweep at a time, and none for ever."""

from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from relocation.ledger.leases import leased_sweep

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def lease(ledger: Engine, worker: str, now: datetime = NOW) -> AbstractContextManager[bool]:
    return leased_sweep(ledger, worker=worker, lease_seconds=60, clock=lambda: now)


def test_while_one_sweeps_another_does_not(ledger: Engine) -> None:
    with lease(ledger, "a") as first, lease(ledger, "b") as second:
        assert (first, second) == (True, False)
    with lease(ledger, "c") as third:
        assert third


def test_one_that_was_kept_out_gives_nothing_back(ledger: Engine) -> None:
    with lease(ledger, "a"):
        with lease(ledger, "b"):
            pass
        with lease(ledger, "c") as third:
            assert not third


def test_one_that_died_keeps_others_out_for_its_lease(ledger: Engine) -> None:
    dead = lease(ledger, "dead")
    dead.__enter__()
    for seconds, free in ((59, False), (60, True)):
        with lease(ledger, "next", NOW + timedelta(seconds=seconds)) as found:
            assert found is free


def test_one_that_fails_gives_its_lease_back(ledger: Engine) -> None:
    with suppress(ZeroDivisionError), lease(ledger, "a"):
        raise ZeroDivisionError
    with lease(ledger, "b") as free:
        assert free


def test_one_that_outlived_its_lease_does_not_end_that_of_its_successor(ledger: Engine) -> None:
    slow = lease(ledger, "slow")
    slow.__enter__()
    later = NOW + timedelta(seconds=61)
    with lease(ledger, "next", later):
        slow.__exit__(None, None, None)
        with lease(ledger, "third", later) as free:
            assert not free


@pytest.mark.parametrize("sweeps", [1, 3])
def test_each_sweep_leases_it_anew(ledger: Engine, sweeps: int) -> None:
    for _ in range(sweeps):
        with lease(ledger, "same") as free:
            assert free

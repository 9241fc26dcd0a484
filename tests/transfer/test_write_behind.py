"""Rows that are written behind stay in order, and in their transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident

import pytest
from destinations import Rows
from sqlalchemy import Connection, Engine

from relocation.errors import FencedOut, TransientError
from relocation.transfer.load.chunks import bind, fenced
from relocation.transfer.load.write_behind import WriteBehind


def write(connection: Connection, pk: int) -> None:
    row = f"VALUES ({pk}, 'ann{pk}@example.org', '2024-03-04 09:00:00')"
    connection.exec_driver_sql(f"INSERT INTO sentry_email (id, email, date_added) {row}")


@pytest.fixture
def write_behind(destination: Engine) -> WriteBehind:
    """What writes behind, into a destination that a relocation holds."""
    bind(destination, "one", 1)
    return WriteBehind(partial(fenced, destination, "one", 1))


def pks(rows: Rows) -> list[int]:
    return [row["id"] for row in rows("sentry.email")]


def test_what_is_asked_comes_after_all_that_was_left_to_be_written(
    write_behind: WriteBehind,
) -> None:
    with write_behind as transaction:
        for pk in range(1, 40):
            transaction.write_later(partial(write, pk=pk))
        count = transaction.flushed().exec_driver_sql("SELECT count(*) FROM sentry_email")
        assert count.scalar_one() == 39


def test_a_transaction_begins_once_the_one_before_is_told_of(
    destination: Engine, write_behind: WriteBehind
) -> None:
    seen = []

    def tell() -> None:
        with destination.begin() as other:  # waits in vain where a transaction is open
            seen.append(other.exec_driver_sql("SELECT count(*) FROM sentry_email").scalar_one())
            write(other, 100 + len(seen))

    with write_behind as transaction:
        for pk in (1, 2):
            transaction.write_later(partial(write, pk=pk))
            transaction.commit(tell)
    assert seen == [1, 3]


def test_it_is_told_by_the_thread_that_asked(write_behind: WriteBehind) -> None:
    threads = []
    with write_behind as transaction:
        transaction.write_later(partial(write, pk=1))
        transaction.commit(lambda: threads.append(get_ident()))
    assert threads == [get_ident()]


@pytest.mark.parametrize("committed", [True, False])
def test_what_the_destination_refuses_leaves_nothing_of_its_transaction(
    write_behind: WriteBehind, rows: Rows, *, committed: bool
) -> None:
    told: list[int] = []
    with pytest.raises(TransientError, match="rejected some records"), write_behind as transaction:
        transaction.write_later(partial(write, pk=1))
        transaction.commit(partial(told.append, 1))
        transaction.write_later(partial(write, pk=2))
        transaction.write_later(partial(write, pk=1))
        transaction.write_later(partial(write, pk=3))
        if committed:
            transaction.commit(partial(told.append, 2))
    assert (pks(rows), told) == ([1], [1])


def test_an_error_while_the_next_is_prepared_lets_the_one_before_be_committed(
    write_behind: WriteBehind, rows: Rows
) -> None:
    with pytest.raises(ZeroDivisionError), write_behind as transaction:
        transaction.write_later(partial(write, pk=1))
        transaction.commit(lambda: None)
        raise ZeroDivisionError
    assert pks(rows) == [1]


def test_an_error_of_the_caller_leaves_nothing_of_the_open_transaction(
    write_behind: WriteBehind, rows: Rows
) -> None:
    with pytest.raises(ZeroDivisionError), write_behind as transaction:
        transaction.write_later(partial(write, pk=1))
        raise ZeroDivisionError
    assert pks(rows) == []


def test_a_transaction_that_may_not_begin_writes_nothing(
    destination: Engine, write_behind: WriteBehind, rows: Rows
) -> None:
    bind(destination, "one", 2)
    with pytest.raises(FencedOut), write_behind as transaction:
        transaction.write_later(partial(write, pk=1))
    assert pks(rows) == []


def test_every_connection_is_given_back(destination: Engine) -> None:
    opened, closed = [], []

    @contextmanager
    def begin() -> Iterator[Connection]:
        opened.append(1)
        try:
            with fenced(destination, "one", 1) as connection:
                yield connection
        finally:
            closed.append(1)

    bind(destination, "one", 1)
    with pytest.raises(TransientError), WriteBehind(begin) as transaction:
        for pk in (1, 2, 2):
            transaction.write_later(partial(write, pk=pk))
            transaction.commit(lambda: None)
    assert len(opened) == len(closed) == 3

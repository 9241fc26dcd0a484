"""Transactions whose rows are written in a thread, while the next ones are prepared."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

Work = Callable[[Connection], None]


class WriteBehind:
    """Transactions of one writer, one after the other; `begin` opens each of them.

    What is left to be written behind is written in order, each before the connection that
    `flushed` gives is used. An error of it is raised by whatever is called next, and ends the
    transaction as an error of the caller does: nothing of it stays.
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begin = begin
        self._thread = ThreadPoolExecutor(1)
        self._works: list[Future[None]] = []
        self._then: Callable[[], None] | None = None
        self._transaction = ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        with self._transaction:
            if err is not None:
                raise err
            self.flush()

    def flushed(self) -> Connection:
        """Return the connection of the open transaction, once all before is written."""
        self.flush()
        return self._opened()

    def write_later(self, work: Work) -> None:
        """Leave something to be written in the open transaction."""
        connection = self._opened()
        self._works.append(self._thread.submit(work, connection))

    def commit(self, then: Callable[[], None]) -> None:
        """Leave the open transaction to be committed, after all that is to be written in it.

        `then` is called by the caller's own thread, before another transaction begins.
        """
        works, self._works = self._works, []
        transaction, self._connection = self._transaction.pop_all(), None

        def end() -> None:
            with transaction:
                for work in works:
                    work.result()

        self._works.append(self._thread.submit(end))
        self._then = then

    def flush(self) -> None:
        """Wait until all is written that was left to be."""
        works, self._works = self._works, []
        then, self._then = self._then, None
        for work in works:
            work.result()
        if then is not None:
            then()

    def _opened(self) -> Connection:
        if self._connection is None:
            self.flush()
            self._connection = self._transaction.enter_context(self._begin())
        return self._connection

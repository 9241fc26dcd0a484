"""Leases: of a relocation, kept alive from a thread, and of the sweep."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, update
from sqlalchemy.exc import SQLAlchemyError

from relocation.database import database_time
from relocation.errors import FencedOut
from relocation.ledger.holds import Hold, renew
from relocation.ledger.tables import sweep_lease

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renew the lease of a hold every `every` seconds, for as long as a `with` block lasts.

    `lost` is called once, from the thread, when another process has taken the relocation over or
    it has ended. A ledger that cannot be reached is tried again: the lease may outlast that.
    """

    def __init__(
        self,
        engine: Engine,
        hold: Hold,
        *,
        every: float,
        lease_seconds: float,
        lost: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._hold = hold
        self._every = every
        self._lease_seconds = lease_seconds
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="relocation-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Renew no more; what is written already stays until it runs out."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _keep(self) -> None:
        while not self._stop.wait(self._every):
            try:
                renew(self._engine, self._hold, self._lease_seconds, database_time)
            except FencedOut:
                if not self._stop.is_set():
                    self._lost()
                return
            except SQLAlchemyError:  # the ledger is away for a while
                _log.warning(
                    "The lease of relocation %s could not be renewed",
                    self._hold.relocation_id,
                    exc_info=True,
                )


@contextmanager
def leased_sweep(
    engine: Engine, *, worker: str, lease_seconds: float, clock: Callable[[], datetime]
) -> Iterator[bool]:
    """Lease the sweep, and give it back at the end; yields whether it was free, and never waits.

    One that dies, or takes longer than its lease, keeps nobody out after that: two sweeps at once
    do no harm.
    """
    now, lease = clock(), sweep_lease.c
    until = now + timedelta(seconds=lease_seconds)
    take = update(sweep_lease).where(lease.lease_until <= now)
    with engine.begin() as connection:
        mine = connection.execute(take.values(worker=worker, lease_until=until)).rowcount == 1
    try:
        yield mine
    finally:
        if mine:
            own = update(sweep_lease).where(lease.worker == worker, lease.lease_until == until)
            with engine.begin() as connection:
                connection.execute(own.values(lease_until=clock()))

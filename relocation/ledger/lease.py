"""Keep a lease alive from a thread, and notice when the relocation is another's."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from relocation.errors import FencedOut
from relocation.ledger.holds import Hold, renew

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
                renew(self._engine, self._hold, self._lease_seconds)
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

"""Let one sweep work at a time, and the next one when it has died."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine, update

from relocation.ledger.tables import sweep_lease


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

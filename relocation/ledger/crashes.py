"""Commits that do not wait for the disk, and what is left in doubt where a crash loses them.

The death of a process loses no such commit, only that of the database's own machine can; on SQLite
that is this machine. Every later commit that waits for the disk makes them durable too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, select, update

from relocation.database import insert_new
from relocation.ledger.tables import NoticeState, is_in, notices, witnesses

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def doubt_what_a_crash_lost(connection: Connection) -> int:
    """Take for sent, where the database has crashed since, what might have been; returns how many.

    A notice with its bytes that is claimed may be one whose mark, that it is being sent, was lost.
    """
    boot = _boot(connection.dialect.name)
    known = connection.execute(select(witnesses.c.boot)).scalar_one_or_none()
    if boot is None or known == boot:
        return 0
    if known is None:
        # Of several processes the first one does it, and the others wait for it.
        if not insert_new(connection, witnesses, [{"id": 1, "boot": boot}]):
            return 0
    else:
        connection.execute(update(witnesses).values(boot=boot))
    lost = update(notices).where(
        is_in(notices.c.state, (NoticeState.CLAIMED,)), notices.c.wire.is_not(None)
    )
    return connection.execute(lost.values(state=NoticeState.SENDING)).rowcount


@contextmanager
def without_waiting(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose commits do not wait for the disk, wherever a crash would be noticed.

    Elsewhere they wait: on SQLite without a write-ahead log, or where no boot can be told from
    another. On PostgreSQL, each statement is a transaction of its own.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            own = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                own.exec_driver_sql("SET synchronous_commit = off")
                own.commit()
                yield own
                own.exec_driver_sql("RESET synchronous_commit")
                own.commit()
            except BaseException:
                own.invalidate()  # or the next one to use it would not wait either
                raise
            return
        raw = connection.connection
        (mode,) = raw.cursor().execute("PRAGMA journal_mode").fetchone()
        if mode == "wal" and _boot(engine.dialect.name):
            raw.cursor().execute("PRAGMA synchronous = NORMAL")
        yield connection  # SQLite has no pool: the connection ends here


@cache
def _boot(dialect: str) -> str | None:
    """Return what tells this run of the database's machine from others.

    On PostgreSQL the table of witnesses is unlogged: a crash empties it, and that tells enough.
    """
    if dialect == "postgresql":
        return ""
    return _BOOT.read_text().strip() if _BOOT.exists() else None

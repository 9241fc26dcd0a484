"""Notices sent as a group: leased in one commit, kept in one, and then marked one by one.

The bytes of all are on the disk before the first one is handed over. From then on each notice costs
one commit, which records the result of the one before it as well, so that no more than one is ever
marked as being sent. That commit need not wait for the disk (see `relocation.ledger.crashes`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from relocation.ledger.crashes import without_waiting
from relocation.ledger.dispatch import UNHEARD, is_due, lease_due, lease_lost
from relocation.ledger.outbox import Notice, read_notice
from relocation.ledger.tables import OPEN, NoticeState, notices
from relocation.notices.kinds import Channel, NoticeKind

_NOBODY = -1
"""No notice has this id."""


def lease_group(
    engine: Engine,
    *,
    most: int,
    worker: str,
    lease_seconds: float,
    now: datetime,
    relocation_id: str | None = None,
    channel: Channel = Channel.MAIL,
) -> list[Notice]:
    """Take the next notices that are due, in their order, as `lease_due` takes one.

    One whose sender died is taken alone: it must not take others with it again.
    """
    if most == 1:
        notice = lease_due(
            engine,
            worker=worker,
            lease_seconds=lease_seconds,
            now=now,
            relocation_id=relocation_id,
            channel=channel,
        )
        return [notice] if notice else []
    until = now + timedelta(seconds=lease_seconds)
    values = {"at": now, "way": channel, "relocation": relocation_id, "most": most}
    with engine.begin() as connection:
        rows = connection.execute(_due(relocation_id is not None), values)
        due = [read_notice(row) for row in rows]
        taken = list(takewhile(lambda notice: notice.reply != UNHEARD, due)) or due[:1]
        if taken:
            take = update(notices).where(notices.c.id.in_([notice.id for notice in taken]))
            changes = {
                "state": NoticeState.CLAIMED,
                "claimed_by": worker,
                "lease_until": until,
                "tries": notices.c.tries + 1,
            }
            connection.execute(take.values(changes))
    return [
        replace(
            notice,
            state=NoticeState.CLAIMED,
            claimed_by=worker,
            lease_until=until,
            tries=notice.tries + 1,
        )
        for notice in taken
    ]


def keep_bytes(engine: Engine, built: Sequence[tuple[Notice, bytes]]) -> None:
    """Keep the bytes of notices that are leased; they are on the disk when it returns.

    Of a notice whose lease was lost, nothing is kept: it cannot be marked then.
    """
    if built:
        kept = func.coalesce(notices.c.wire, bindparam("bytes"))
        rows = [{**_lease(notice), "bytes": wire} for notice, wire in built]
        with engine.begin() as connection:
            connection.execute(_of_lease().values(wire=kept), rows)


def renew(engine: Engine, group: Sequence[Notice], until: datetime) -> None:
    """Keep the notices that are still leased for longer."""
    rows = [{**_lease(notice), "until": until} for notice in group]
    with engine.begin() as connection:
        connection.execute(_of_lease().values(lease_until=bindparam("until")), rows)


def release(engine: Engine, group: Sequence[Notice]) -> None:
    """Put back the notices that are still leased: they were not tried, and are due at once."""
    if group:
        back = {"state": NoticeState.QUEUED, "claimed_by": None, "lease_until": None}
        with engine.begin() as connection:
            connection.execute(_of_lease().values(back), [_lease(notice) for notice in group])


class Relay:
    """Records what is handed over: each result together with the mark of the next notice."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        lease_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._lease = timedelta(seconds=lease_seconds)
        self._now = now
        self._done: dict[str, Any] | None = None

    def mark(self, notice: Notice) -> None:
        """Record, just before it is handed over, that the notice may arrive from now on.

        Raises LeaseLostError: it must then not be sent. Records the result before it in any case.
        """
        with self._connection.begin():
            marked = notice.id in self._write(self._connection, notice)
        self._done = None
        if not marked:
            raise lease_lost(notice)

    def sent(self, notice: Notice, reply: str) -> None:
        """Have recorded with the next mark, or by `flush`, that the notice was sent."""
        done = {"done": notice.id, "done_tries": notice.tries, "reply": reply}
        self._done = {**done, "sent_at": self._now()}

    def flush(self) -> None:
        """Record now what waits for the next mark; all results are on the disk then."""
        if self._done:
            # Over a connection of its own: that of the marks may be broken.
            with self._engine.begin() as connection:
                self._write(connection, None)
            self._done = None

    def _write(self, connection: Connection, mark: Notice | None) -> Sequence[int]:
        values = {
            **(self._done or {"done": _NOBODY, "done_tries": 0, "reply": None, "sent_at": None}),
            "next": mark.id if mark else _NOBODY,
            "next_tries": mark.tries if mark else 0,
            "until": self._now() + self._lease,
        }
        return connection.execute(_step(), values).scalars().all()


@contextmanager
def relaying(
    engine: Engine, *, lease_seconds: float, now: Callable[[], datetime]
) -> Iterator[Relay]:
    """Record a group step by step; at the end, what waits is recorded too."""
    with without_waiting(engine) as connection:
        relay = Relay(engine, connection, lease_seconds, now)
        try:
            yield relay
        finally:
            relay.flush()


@cache  # building them costs more than running them
def _due(of_one_relocation: bool) -> Executable:
    due = notices.alias("due")
    return (
        select(due)
        .where(*is_due(due, of_one_relocation=of_one_relocation))
        .order_by(due.c.not_before, due.c.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


def _of_lease() -> Any:
    return update(notices).where(
        notices.c.id == bindparam("of_id"),
        notices.c.tries == bindparam("of_tries"),
        notices.c.state == NoticeState.CLAIMED,
    )


def _lease(notice: Notice) -> dict[str, Any]:
    return {"of_id": notice.id, "of_tries": notice.tries}


@cache
def _step() -> Executable:
    notice = notices.c
    is_next = notice.id == bindparam("next")
    has_secret = notice.kind == NoticeKind.CLAIM
    may_begin = and_(
        is_next,
        notice.tries == bindparam("next_tries"),
        notice.state == NoticeState.CLAIMED,
        notice.wire.is_not(None),
    )
    # What has arrived is not sent again, even where its lease ran out meanwhile.
    has_ended = and_(
        notice.id == bindparam("done"),
        notice.tries == bindparam("done_tries"),
        notice.state.in_((*OPEN, NoticeState.UNKNOWN)),
    )
    state = notice.state.type
    return (
        update(notices)
        .where(or_(may_begin, has_ended))
        .values(
            state=case(
                (is_next, literal(NoticeState.SENDING, state)),
                else_=literal(NoticeState.SENT, state),
            ),
            lease_until=case(
                (is_next, bindparam("until", type_=notice.lease_until.type)), else_=null()
            ),
            claimed_by=case((is_next, notice.claimed_by), else_=null()),
            reply=case((is_next, notice.reply), else_=bindparam("reply", type_=notice.reply.type)),
            sent_at=case(
                (is_next, notice.sent_at), else_=bindparam("sent_at", type_=notice.sent_at.type)
            ),
            # A notice that ends leaves no secret behind.
            context=case(
                (and_(~is_next, has_secret), literal({}, notice.context.type)), else_=notice.context
            ),
            wire=case((and_(~is_next, has_secret), null()), else_=notice.wire),
        )
        .returning(notice.id)
    )

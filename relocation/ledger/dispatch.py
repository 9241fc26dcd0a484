"""Notices on their way: leased, handed over, and finished once."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Executable,
    FromClause,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)

from relocation.database import reading
from relocation.errors import RelocationError
from relocation.ledger.crashes import doubt_what_a_crash_lost
from relocation.ledger.outbox import Notice, enqueue, read_notice
from relocation.ledger.tables import LEASED, OPEN, NoticeState, is_in, notices, relocations
from relocation.notices.kinds import Channel, NoticeKind
from relocation.notices.operator import Operator, undeliverable_drafts

RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
"""Waits before the second, third ... try; the last one repeats."""
JITTER = 0.2
"""How far a wait may exceed its length, as a fraction of it."""
MOST_REFUSALS = 52
"""A notice is given up after so many; with the waits between them, they take two days."""
UNHEARD = "The sender died before reporting a result."

RecordedOutcome = Literal["sent", "retry", "ours", "unbuildable", "failed", "unknown"]
"""What became of an attempt.

retry: the server refused the notice for now. ours: it could not be tried, for a fault on our side.
unbuildable: nor could it, since its template or its facts are wrong.
"""


class LeaseLostError(RelocationError):
    """The notice was taken over by another process, since its lease had run out."""


@dataclass(frozen=True)
class DeliveryPolicy:
    """What is done about notices that do not arrive, and who is told."""

    operator: Operator
    sender_domain: str
    resend_unknown: bool
    """Send a notice once more whose arrival is unknown: a duplicate instead of a loss."""


def lease_due(
    engine: Engine,
    *,
    worker: str,
    lease_seconds: float,
    now: datetime,
    relocation_id: str | None = None,
    channel: Channel = Channel.MAIL,
) -> Notice | None:
    """Take the next notice that is due, of one relocation or of any; None where none is.

    A recipient gets the notices of a relocation in their order: one waits until those before it
    were sent or given up, but not for one that cannot be built. One whose link is dead is due no
    more: it has to be replaced.
    """
    values = {
        "at": now,
        "way": channel,
        "owner": worker,
        "until": now + timedelta(seconds=lease_seconds),
        "relocation": relocation_id,
    }
    with engine.begin() as connection:
        row = connection.execute(_lease(relocation_id is not None), values).one_or_none()
    return read_notice(row) if row else None


@cache  # building it costs more than running it
def _lease(of_one_relocation: bool) -> Executable:
    due = notices.alias("due")
    first = select(due.c.id).where(*is_due(due, of_one_relocation=of_one_relocation))
    first = first.order_by(due.c.not_before, due.c.id).limit(1)
    return (
        update(notices)
        .where(notices.c.id == first.with_for_update(skip_locked=True).scalar_subquery())
        .values(
            state=NoticeState.CLAIMED,
            claimed_by=bindparam("owner"),
            lease_until=bindparam("until"),
            tries=notices.c.tries + 1,
        )
        .returning(notices)
    )


def is_due(due: FromClause, *, of_one_relocation: bool) -> list[ColumnElement[bool]]:
    """Return the conditions for a notice to be sent: parameters `at`, `way` and `relocation`."""
    conditions = [
        is_in(due.c.state, (NoticeState.QUEUED,)),
        due.c.not_before <= bindparam("at"),
        due.c.channel == bindparam("way"),
        or_(due.c.valid_until.is_(None), due.c.valid_until > bindparam("at")),
        ~_waits_for_earlier(due),
    ]
    if of_one_relocation:
        conditions.append(due.c.relocation_id == bindparam("relocation"))
    return conditions


def _waits_for_earlier(due: FromClause) -> ColumnElement[bool]:
    earlier = notices.alias("earlier")
    return exists().where(
        earlier.c.relocation_id == due.c.relocation_id,
        func.lower(earlier.c.recipient) == func.lower(due.c.recipient),
        earlier.c.id < due.c.id,
        is_in(earlier.c.state, OPEN),
        ~earlier.c.unbuildable,
    )


def overdue(engine: Engine, before: datetime, relocation_id: str | None = None) -> int:
    """Count the notices queued before then that wait for a fault of ours alone.

    A notice that its recipient's server refuses for now, and one that waits for an earlier one, is
    none of them.
    """
    late = notices.alias("late")
    wanted = select(func.count()).where(
        is_in(late.c.state, (NoticeState.QUEUED,)),
        late.c.created_at <= before,
        late.c.refusals == 0,
        ~_waits_for_earlier(late),
    )
    if relocation_id is not None:
        wanted = wanted.where(late.c.relocation_id == relocation_id)
    with reading(engine) as connection:
        return connection.execute(wanted).scalar_one()


def release_expired(engine: Engine, policy: DeliveryPolicy, *, now: datetime) -> int:
    """See to the notices whose holder was silent for longer than its lease; returns how many.

    What was claimed only goes out again; what was being handed over may have arrived.
    """
    expired = (
        select(notices)
        .where(is_in(notices.c.state, LEASED), notices.c.lease_until <= now)
        .with_for_update(skip_locked=True)
    )
    with engine.begin() as connection:
        doubt_what_a_crash_lost(connection)
        silent = [read_notice(row) for row in connection.execute(expired)]
        for notice in silent:
            outcome: RecordedOutcome = "unknown" if notice.state is NoticeState.SENDING else "retry"
            changes = _after(notice, outcome, policy, now)
            if outcome == "retry":
                changes["reply"] = UNHEARD
            _record(connection, notice, changes, policy, now=now)
    return len(silent)


def mark_sending(
    engine: Engine, notice: Notice, wire: bytes, *, lease_seconds: float, now: datetime
) -> None:
    """Record, just before the message is handed over, that these bytes may arrive from now on.

    They are the message for ever: whoever sends it again sends them. Raises LeaseLostError: the
    message must then not be sent.
    """
    statement = (
        update(notices)
        .where(is_leased(notice, NoticeState.CLAIMED))
        .values(
            state=NoticeState.SENDING,
            wire=func.coalesce(notices.c.wire, wire),
            lease_until=now + timedelta(seconds=lease_seconds),
        )
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise lease_lost(notice)


def finish(
    engine: Engine,
    notice: Notice,
    outcome: RecordedOutcome,
    reply: str,
    policy: DeliveryPolicy,
    *,
    now: datetime,
) -> NoticeState:
    """Record what became of a leased notice; returns its new state.

    "retry" puts it back for later, until it is given up; what is our own fault is never given up.
    "unknown" sends it once more, where the policy says so. An operator is told of what is given up,
    and of what cannot be built, in the same transaction. Raises LeaseLostError where another
    process has leased it since.
    """
    changes = _after(notice, outcome, policy, now)
    # What has arrived is not sent again, even where its lease ran out meanwhile.
    claim = (*OPEN, NoticeState.UNKNOWN) if outcome == "sent" else LEASED
    with engine.begin() as connection:
        if not _record(connection, notice, {"reply": reply, **changes}, policy, *claim, now=now):
            raise lease_lost(notice)
    state: NoticeState = changes["state"]
    return state


def _after(
    notice: Notice, outcome: RecordedOutcome, policy: DeliveryPolicy, now: datetime
) -> dict[str, Any]:
    refusals = notice.refusals + 1 if outcome == "retry" else 0
    # What keeps us from sending is asked for anew by one notice at a time: no need to wait longer.
    turn = 1 if outcome == "ours" else refusals or notice.tries
    wait = RETRY_AFTER[min(turn, len(RETRY_AFTER)) - 1]
    jitter = random.uniform(1, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
    again = {
        "state": NoticeState.QUEUED,
        "not_before": now + wait * jitter,
        "refusals": refusals,
        "unbuildable": outcome == "unbuildable",
    }
    match outcome:
        case "sent":
            return {"state": NoticeState.SENT, "sent_at": now}
        case "failed":
            return {"state": NoticeState.FAILED}
        case "retry" if refusals >= MOST_REFUSALS:
            return {"state": NoticeState.FAILED, "refusals": refusals}
        case "retry" | "ours" | "unbuildable":
            return again
        case "unknown":
            resend = policy.resend_unknown and notice.ambiguous == 0
            last = again if resend else {"state": NoticeState.UNKNOWN}
            return {"ambiguous": notice.ambiguous + 1, **last}


def _record(
    connection: Connection,
    notice: Notice,
    changes: dict[str, Any],
    policy: DeliveryPolicy,
    *states: NoticeState,
    now: datetime,
) -> bool:
    """Write the changes where the lease still holds; a notice that ends leaves no secret behind."""
    state: NoticeState = changes["state"]
    if state not in OPEN and notice.kind is NoticeKind.CLAIM:
        changes = {**changes, "context": {}, "wire": None}
    statement = (
        update(notices)
        .where(is_leased(notice, *(states or LEASED)))
        .values(claimed_by=None, lease_until=None, **changes)
    )
    if connection.execute(statement).rowcount == 0:
        return False
    if state in (NoticeState.FAILED, NoticeState.UNKNOWN) or changes.get("unbuildable"):
        _tell_operator(connection, notice, changes, policy, now)
    return True


def _tell_operator(
    connection: Connection,
    notice: Notice,
    changes: dict[str, Any],
    policy: DeliveryPolicy,
    now: datetime,
) -> None:
    """Queue the one notice a round that tells of such notices; the outbox lists all of them."""
    of_it = select(relocations.c.organizations).where(relocations.c.id == notice.relocation_id)
    drafts = undeliverable_drafts(
        policy.operator,
        connection.execute(of_it).scalar_one(),
        kind=notice.kind,
        recipient=notice.recipient,
        reply=changes.get("reply") or notice.reply or UNHEARD,
        waits=changes["state"] is NoticeState.QUEUED,
    )
    enqueue(
        connection,
        notice.relocation_id,
        notice.round,
        drafts,
        sender_domain=policy.sender_domain,
        now=now,
    )


def is_leased(notice: Notice, *states: NoticeState) -> ColumnElement[bool]:
    """Return the condition that the notice is in one of the states, and leased by nobody since."""
    return and_(
        notices.c.id == notice.id,
        notices.c.tries == notice.tries,
        notices.c.state.in_(states),
    )


def lease_lost(notice: Notice) -> LeaseLostError:
    """Return the error of a lease that another process has taken over."""
    return LeaseLostError(
        "Another process is sending this notice.",
        internal=f"lease {notice.tries} of notice {notice.id} is no longer valid",
    )

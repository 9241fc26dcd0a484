"""The outbox: every notice is a row, and goes out once as far as SMTP allows."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    case,
    exists,
    func,
    select,
    update,
)

from relocation.errors import RelocationError
from relocation.ledger.tables import NoticeState, insert_if_new, notices
from relocation.notices.kinds import Draft, NoticeKind

RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
"""Waits before the second, third ... try; the last one repeats."""
JITTER = 0.2
"""How far a wait may exceed its length, as a fraction of it."""
GIVE_UP_AFTER = timedelta(hours=48)
SENDS_IN_DOUBT = 2
"""How often a notice is sent whose arrival stays unknown: a duplicate beats a loss."""

_OPEN = (NoticeState.QUEUED, NoticeState.CLAIMED, NoticeState.SENDING)

Outcome = Literal["sent", "retry", "failed", "unknown"]


class ClaimLostError(RelocationError):
    """The notice was taken over by another process, since its lease had run out."""


@dataclass(frozen=True)
class Notice:
    """A notice as it was claimed or read; its repr shows no address and no content."""

    id: int
    relocation_id: str
    round: int
    kind: NoticeKind
    recipient: str = field(repr=False)
    about: str = field(repr=False)
    dedupe_key: str = field(repr=False)
    context: dict[str, Any] = field(repr=False)
    message_id: str
    wire: bytes | None = field(repr=False)
    """The exact message, once it is built."""
    state: NoticeState
    tries: int
    """Claims so far; tells a claim of this notice from every later one."""
    ambiguous: int
    """Sends after which nobody knows whether it arrived."""
    not_before: datetime
    lease_until: datetime | None
    claimed_by: str | None
    reply: str | None = field(repr=False)
    created_at: datetime
    sent_at: datetime | None


def enqueue(
    connection: Connection,
    relocation_id: str,
    round_: int,
    drafts: Sequence[Draft],
    *,
    sender_domain: str,
    now: datetime,
) -> int:
    """Put notices into the outbox, each at most once (B-3); returns how many were new.

    It belongs into the transaction of what they tell of (W-44).
    """
    return sum(
        insert_if_new(connection, notices, _row(relocation_id, round_, draft, sender_domain, now))
        for draft in drafts
    )


def _row(
    relocation_id: str, round_: int, draft: Draft, sender_domain: str, now: datetime
) -> dict[str, Any]:
    key = draft.key(relocation_id, round_)
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
    return {
        "relocation_id": relocation_id,
        "round": round_,
        "kind": draft.kind,
        "recipient": draft.recipient,
        "about": draft.about,
        "dedupe_key": key,
        "context": draft.context,
        "message_id": f"<{digest}@{sender_domain}>",
        "state": NoticeState.QUEUED,
        "tries": 0,
        "ambiguous": 0,
        "not_before": now,
        "created_at": now,
    }


def claim_due(
    engine: Engine,
    *,
    claimed_by: str,
    lease_seconds: float,
    now: datetime,
    relocation_id: str | None = None,
) -> Notice | None:
    """Take the next notice that is due, of one relocation or of any; None where none is.

    A recipient gets the notices of a relocation in their order: one waits until those before it
    were sent or given up. Leases that ran out are seen to first.
    """
    with engine.begin() as connection:
        _release_expired(connection, now)
        row = connection.execute(
            update(notices)
            .where(notices.c.id == _next_due(now, relocation_id).scalar_subquery())
            .values(
                state=NoticeState.CLAIMED,
                claimed_by=claimed_by,
                lease_until=now + timedelta(seconds=lease_seconds),
                tries=notices.c.tries + 1,
            )
            .returning(notices)
        ).one_or_none()
    return _notice(row) if row else None


def _next_due(now: datetime, relocation_id: str | None) -> Select[tuple[int]]:
    due, earlier = notices.alias("due"), notices.alias("earlier")
    waits_for_earlier = exists().where(
        earlier.c.relocation_id == due.c.relocation_id,
        func.lower(earlier.c.recipient) == func.lower(due.c.recipient),
        earlier.c.id < due.c.id,
        earlier.c.state.in_(_OPEN),
    )
    is_due = [due.c.state == NoticeState.QUEUED, due.c.not_before <= now, ~waits_for_earlier]
    if relocation_id is not None:
        is_due.append(due.c.relocation_id == relocation_id)
    first = select(due.c.id).where(*is_due).order_by(due.c.id).limit(1)
    return first.with_for_update(skip_locked=True)


def _release_expired(connection: Connection, now: datetime) -> None:
    def expired(state: NoticeState) -> ColumnElement[bool]:
        return and_(notices.c.state == state, notices.c.lease_until <= now)

    nobody = {"claimed_by": None, "lease_until": None}
    too_old = notices.c.created_at <= now - GIVE_UP_AFTER
    # Claimed only: it was not handed to a server, and can go out again without doubt.
    connection.execute(
        update(notices)
        .where(expired(NoticeState.CLAIMED))
        .values(state=case((too_old, NoticeState.FAILED), else_=NoticeState.QUEUED), **nobody)
    )
    in_doubt = notices.c.ambiguous + 1 >= SENDS_IN_DOUBT
    connection.execute(
        update(notices)
        .where(expired(NoticeState.SENDING))
        .values(
            state=case((in_doubt, NoticeState.UNKNOWN), else_=NoticeState.QUEUED),
            ambiguous=notices.c.ambiguous + 1,
            **nobody,
        )
    )


def store_wire(engine: Engine, notice: Notice, wire: bytes) -> bytes:
    """Keep the exact message before it is first sent; returns what is kept.

    The first bytes stored stay for ever, so that every retry is byte-identical. Raises
    ClaimLostError.
    """
    claimed = _claim_of(notice, NoticeState.CLAIMED)
    with engine.begin() as connection:
        statement = update(notices).where(claimed, notices.c.wire.is_(None)).values(wire=wire)
        connection.execute(statement)
        kept = connection.execute(select(notices.c.wire).where(claimed)).scalar_one_or_none()
    if kept is None:
        raise _claim_lost(notice)
    return bytes(kept)


def mark_sending(engine: Engine, notice: Notice, lease_seconds: float, now: datetime) -> None:
    """Record, just before the message is handed over, that it may arrive from now on.

    Raises ClaimLostError: the message must then not be sent.
    """
    statement = (
        update(notices)
        .where(_claim_of(notice, NoticeState.CLAIMED))
        .values(state=NoticeState.SENDING, lease_until=now + timedelta(seconds=lease_seconds))
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise _claim_lost(notice)


def finish(
    engine: Engine, notice: Notice, outcome: Outcome, reply: str, now: datetime
) -> NoticeState:
    """Record what became of a claimed notice; returns its new state.

    "retry" puts it back for later, until it is given up. "unknown" sends it once more. Raises
    ClaimLostError where another process has claimed it since.
    """
    changes = _after(notice, outcome, now)
    # What has arrived is not sent again, even where its lease ran out meanwhile.
    claim = (*_OPEN, NoticeState.UNKNOWN) if outcome == "sent" else _OPEN[1:]
    statement = (
        update(notices)
        .where(_claim_of(notice, *claim))
        .values(reply=reply, claimed_by=None, lease_until=None, **changes)
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise _claim_lost(notice)
    state: NoticeState = changes["state"]
    return state


def _after(notice: Notice, outcome: Outcome, now: datetime) -> dict[str, Any]:
    wait = RETRY_AFTER[min(notice.tries, len(RETRY_AFTER)) - 1]
    jitter = random.uniform(1, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
    again = {"state": NoticeState.QUEUED, "not_before": now + wait * jitter}
    match outcome:
        case "sent":
            return {"state": NoticeState.SENT, "sent_at": now}
        case "failed":
            return {"state": NoticeState.FAILED}
        case "retry":
            given_up = now - notice.created_at >= GIVE_UP_AFTER
            return {"state": NoticeState.FAILED} if given_up else again
        case "unknown":
            ambiguous = notice.ambiguous + 1
            in_doubt = {"state": NoticeState.UNKNOWN} if ambiguous >= SENDS_IN_DOUBT else again
            return {"ambiguous": ambiguous, **in_doubt}


def notices_of(engine: Engine, relocation_id: str) -> list[Notice]:
    """Return the relocation's notices in the order they were put into the outbox."""
    wanted = select(notices).where(notices.c.relocation_id == relocation_id)
    with engine.begin() as connection:
        return [_notice(row) for row in connection.execute(wanted.order_by(notices.c.id))]


def _claim_of(notice: Notice, *states: NoticeState) -> ColumnElement[bool]:
    return and_(
        notices.c.id == notice.id,
        notices.c.tries == notice.tries,
        notices.c.state.in_(states),
    )


def _claim_lost(notice: Notice) -> ClaimLostError:
    return ClaimLostError(
        "The notice is sent elsewhere.",
        internal=f"claim {notice.tries} of notice {notice.id} is no longer valid",
    )


def _notice(row: Row[Any]) -> Notice:
    return Notice(**row._mapping)

"""The outbox: every notice is a row, put there together with what it tells of."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from relocation.ledger.inserting import insert_new
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.kinds import Draft, NoticeKind


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
    rows = [_row(relocation_id, round_, draft, sender_domain, now) for draft in drafts]
    return insert_new(connection, notices, rows)


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


def notices_of(engine: Engine, relocation_id: str) -> list[Notice]:
    """Return the relocation's notices in the order they were put into the outbox."""
    wanted = select(notices).where(notices.c.relocation_id == relocation_id)
    with engine.begin() as connection:
        return [read_notice(row) for row in connection.execute(wanted.order_by(notices.c.id))]


def thread_of(engine: Engine, notice: Notice) -> str | None:
    """Return the id of the STARTED message to the same reader, if there is one (A-143)."""
    key = Draft(NoticeKind.STARTED, notice.recipient).key(notice.relocation_id, notice.round)
    wanted = select(notices.c.message_id).where(notices.c.dedupe_key == key)
    with engine.begin() as connection:
        return connection.execute(wanted).scalar_one_or_none()


def read_notice(row: Row[Any]) -> Notice:
    """Return a whole row of the table as a notice."""
    return Notice(**row._mapping)

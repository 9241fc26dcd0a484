"""The outbox: every notice is a row, put there together with what it tells of."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, update
from sqlalchemy.dialects import sqlite

from relocation.database import insert_new, reading
from relocation.errors import CommandError
from relocation.ledger.column_types import BoundedText
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import (
    NoticeState,
    notices,
    relocations,
    told_causes,
)
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind, Window

_log = logging.getLogger(__name__)

_PLAIN_KEY = BoundedText(600)
HELD_BACK = "Held back: it may have been sent after the backup that the ledger was restored from."
FORGOTTEN = "The people of this relocation are forgotten: their mails and addresses are gone."
GIVEN_UP = (NoticeState.FAILED, NoticeState.UNKNOWN)


@dataclass(frozen=True)
class Notice:
    """A notice as it was leased or read; its repr shows no address and no content."""

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
    """Leases so far; tells a lease of this notice from every later one."""
    ambiguous: int
    """Sends after which nobody knows whether it arrived."""
    not_before: datetime
    lease_until: datetime | None
    claimed_by: str | None
    reply: str | None = field(repr=False)
    created_at: datetime
    sent_at: datetime | None
    channel: Channel
    refusals: int
    """Tries since it was queued that were refused on account of the notice itself."""
    unbuildable: bool
    """Whether its template or its facts were found wrong; it waits until that is fixed."""
    valid_until: datetime | None
    """When the link in it is dead."""
    cause: str | None
    """What it has in common with others that may be told in one digest."""


def enqueue(
    connection: Connection,
    relocation_id: str,
    round_: int,
    drafts: Sequence[NoticeDraft],
    *,
    sender_domain: str,
    now: datetime,
    asked: bool = False,
) -> int:
    """Put notices into the outbox, each at most once (B-3); returns how many were new.

    After the ledger came from a backup they wait for a person, unless one has `asked` for them. It
    belongs into the transaction of what they tell of (W-44). Where a notice of the same cause
    went out a moment ago, one with a window waits for the end of that window. In place of the
    reference's `send_async`.
    """
    if not drafts:
        return 0
    key, held_back = _of_relocation(connection, relocation_id)
    windows = {draft.window for draft in drafts if draft.window}
    turns = {window: _turn(connection, window, now) for window in windows}
    rows = []
    for draft in drafts:
        unique = _keyed(key, draft.key(relocation_id, round_))
        row = _row(relocation_id, round_, draft, now) | {
            "dedupe_key": unique,
            "message_id": f"<{unique[:32]}@{sender_domain}>",
        }
        if draft.window:
            row |= {"cause": draft.window.cause, "not_before": turns[draft.window]}
        row["reply"] = None
        if held_back and not asked and draft.kind is not NoticeKind.OPERATOR:
            row |= {"state": NoticeState.UNKNOWN, "reply": HELD_BACK, "valid_until": None}
            row |= {"context": {}} if draft.kind is NoticeKind.CLAIM else {}
        rows.append(row)
    queued = {row["message_id"]: row for row in rows}
    new = insert_new(connection, notices, rows, returning=notices.c.message_id)
    for message_id in new:
        _log.info(
            "%s notice of relocation %s: %s, Message-ID %s",
            queued[message_id]["kind"],
            relocation_id,
            queued[message_id]["state"],
            message_id,
        )
    return len(new)


def _turn(connection: Connection, window: Window, now: datetime) -> datetime:
    """Return when a notice of the cause goes out: now, and a window begins, or at a window's end.

    Transactions that do this at once wait for each other: one of them is the first.
    """
    row = {"cause": window.cause, "until": now + window.length}
    if insert_new(connection, told_causes, [row]):
        return now
    is_this = told_causes.c.cause == window.cause
    begins = update(told_causes).where(is_this, told_causes.c.until <= now)
    if connection.execute(begins.values(until=row["until"])).rowcount:
        return now
    until: datetime = connection.execute(select(told_causes.c.until).where(is_this)).scalar_one()
    return until


def _row(relocation_id: str, round_: int, draft: NoticeDraft, now: datetime) -> dict[str, Any]:
    return {
        "relocation_id": relocation_id,
        "round": round_,
        "kind": draft.kind,
        "recipient": draft.recipient,
        "about": draft.about,
        "context": draft.context,
        "state": NoticeState.QUEUED,
        "tries": 0,
        "ambiguous": 0,
        "not_before": now,
        "created_at": now,
        "cause": None,
        "channel": draft.channel,
        "valid_until": draft.valid_until,
    }


def notices_of(engine: Engine, relocation_id: str) -> list[Notice]:
    """Return the relocation's notices in the order they were put into the outbox."""
    wanted = select(notices).where(notices.c.relocation_id == relocation_id)
    with reading(engine) as connection:
        return [read_notice(row) for row in connection.execute(wanted.order_by(notices.c.id))]


def thread_of(engine: Engine, notice: Notice) -> str | None:
    """Return the id of the STARTED message to the same reader, if there is one (A-143)."""
    key = NoticeDraft(NoticeKind.STARTED, notice.recipient).key(notice.relocation_id, notice.round)
    with reading(engine) as connection:
        secret, _ = _of_relocation(connection, notice.relocation_id)
        unique = _keyed(secret, key)
        wanted = select(notices.c.message_id).where(notices.c.dedupe_key == unique)
        return connection.execute(wanted).scalar_one_or_none()


def _of_relocation(connection: Connection, relocation_id: str) -> tuple[str, bool]:
    """Return the secret of a relocation's keys, and whether its mails are held back."""
    columns = (relocations.c.notice_key, relocations.c.held_back)
    row = connection.execute(select(*columns).where(relocations.c.id == relocation_id)).one()
    return row.notice_key, row.held_back


def _keyed(secret: str, key: str) -> str:
    """Hash a key, which holds an address, so that only who has the relocation's secret can test it.

    Both databases can do the same, and it is made of what was stored before there were hashes: so a
    migration could turn the keys of old notices.
    """
    stored = _PLAIN_KEY.process_bind_param(key, sqlite.dialect())
    return hashlib.sha256(f"{secret}{stored}".encode()).hexdigest()


def read_notice(row: Row[Any]) -> Notice:
    """Return a whole row of the table as a notice."""
    return Notice(**row._mapping)


@dataclass(frozen=True)
class Requeued:
    """How many notices go out again, and how many cannot."""

    queued: int
    without_link: int
    """Claims: their link was removed from the ledger when they were given up."""


def requeue(engine: Engine, relocation_id: str, *, now: datetime) -> Requeued:
    """Queue the notices of a relocation again that were given up or are in doubt.

    They are the same messages under the same Message-IDs, with as much time to be delivered as new
    ones. Idempotent until they are given up again. Raises UnknownRelocationError, and CommandError
    where the ledger has forgotten whom they went to.
    """
    get_relocation(engine, relocation_id)
    its = select(relocations.c.forgotten_at).where(relocations.c.id == relocation_id)
    given_up = (
        (notices.c.relocation_id == relocation_id)
        & notices.c.state.in_(GIVEN_UP)
        & (notices.c.recipient != "")
    )
    is_claim = notices.c.kind == NoticeKind.CLAIM
    with engine.begin() as connection:
        if connection.execute(its.with_for_update()).scalar_one() is not None:
            raise CommandError(FORGOTTEN)
        claims = connection.execute(select(notices.c.id).where(given_up, is_claim)).all()
        queued = connection.execute(
            update(notices)
            .where(given_up, ~is_claim)
            .values(state=NoticeState.QUEUED, not_before=now, created_at=now, refusals=0)
        )
    return Requeued(queued.rowcount, len(claims))

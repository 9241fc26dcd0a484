"""The claims of imported users in the outbox: which are dead, and what takes their place."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Engine, and_, func, select, update

from relocation.database import reading
from relocation.ledger.history import record_event
from relocation.ledger.holds import Hold
from relocation.ledger.outbox import Notice, enqueue, read_notice
from relocation.ledger.tables import LEASED, NoticeState, is_in, notices
from relocation.model import Relocation
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator, undeliverable_drafts
from relocation.steps import LifecycleEvent

AT_ONCE = 2000
"""Most claims that one sweep renews."""
_IS_CLAIM = and_(notices.c.kind == NoticeKind.CLAIM, notices.c.recipient != "")
"""Of somebody who is not forgotten."""


def newest_claims(engine: Engine, relocation_id: str) -> dict[str, Notice]:
    """Return the last CLAIM notice to each user of a relocation, by username."""
    wanted = select(notices).where(notices.c.relocation_id == relocation_id, _IS_CLAIM)
    with reading(engine) as connection:
        rows = connection.execute(wanted.order_by(notices.c.id))
        return {row.about: read_notice(row) for row in rows}


def claims_so_far(engine: Engine, relocation_id: str) -> dict[str, int]:
    """Count the CLAIM notices to each user of a relocation, by username."""
    wanted = select(notices.c.about, func.count()).where(
        notices.c.relocation_id == relocation_id, _IS_CLAIM
    )
    with reading(engine) as connection:
        return dict(map(tuple, connection.execute(wanted.group_by(notices.c.about))))


def dead_claims(engine: Engine, *, reminders: int, now: datetime) -> dict[str, list[str]]:
    """Return, by relocation, the users to whom a link that works has to be mailed.

    The mail with the old link never went out, or it did, and at most `reminders` after it. Who was
    reminded as often as that is found no more.
    """
    states = (NoticeState.QUEUED, NoticeState.SENT) if reminders else (NoticeState.QUEUED,)
    wanted = (
        select(notices.c.id, notices.c.relocation_id, notices.c.about, notices.c.state)
        .where(_IS_CLAIM, notices.c.valid_until <= now, is_in(notices.c.state, states))
        .order_by(notices.c.valid_until)
        .limit(AT_ONCE)
    )
    with reading(engine) as connection:
        rows = connection.execute(wanted).all()
    found: dict[str, list[str]] = {}
    counts: dict[str, dict[str, int]] = {}
    over = []
    for row in rows:
        id_ = row.relocation_id
        if row.state is NoticeState.SENT:
            counts[id_] = counts.get(id_) or claims_so_far(engine, id_)
            if counts[id_][row.about] > reminders:
                over.append(row.id)
                continue
        found.setdefault(id_, []).append(row.about)
    if over:
        these = update(notices).where(notices.c.id.in_(over))
        with engine.begin() as connection:
            connection.execute(these.values(valid_until=None))
    return found


def replace_claims(
    engine: Engine,
    hold: Hold,
    old: Iterable[Notice],
    drafts: Sequence[NoticeDraft],
    *,
    sender_domain: str,
    now: datetime,
) -> None:
    """Put new claims into the outbox in place of old ones, in one transaction.

    What was sent stays what it is; nothing of the others, and of their tokens, is left.
    """
    ids = [notice.id for notice in old]
    unsent = notices.c.state.not_in((NoticeState.SENT, *LEASED))
    with engine.begin() as connection:
        these = update(notices).where(notices.c.id.in_(ids))
        connection.execute(these.values(valid_until=None))
        gone = these.where(unsent)
        connection.execute(gone.values(state=NoticeState.REPLACED, context={}, wire=None))
        new = enqueue(
            connection,
            hold.relocation_id,
            hold.round,
            drafts,
            sender_domain=sender_domain,
            now=now,
            asked=True,  # of what is held back, no sweep renews a link
        )
        record_event(
            connection,
            hold.relocation_id,
            hold.round,
            LifecycleEvent.CLAIMS_RENEWED,
            at=now,
            detail=f"{new} of {len(ids)}",
        )


def give_up_claims(
    engine: Engine,
    relocation: Relocation,
    old: Collection[Notice],
    why: str,
    operator: Operator,
    *,
    sender_domain: str,
    now: datetime,
) -> None:
    """Record that users get no further link, and why; nothing of an old token is left.

    Of those who never had one an operator is told, in the same transaction and once a round.
    """
    these = update(notices).where(notices.c.id.in_([notice.id for notice in old]))
    unsent = [notice for notice in old if notice.state is NoticeState.QUEUED]
    with engine.begin() as connection:
        connection.execute(these.values(valid_until=None))
        gone = these.where(is_in(notices.c.state, (NoticeState.QUEUED,)))
        connection.execute(gone.values(state=NoticeState.FAILED, context={}, wire=None, reply=why))
        for notice in unsent:
            drafts = undeliverable_drafts(
                operator,
                relocation.organizations,
                kind=NoticeKind.CLAIM,
                recipient=notice.recipient,
                reply=why,
            )
            enqueue(
                connection,
                relocation.id,
                relocation.round,
                drafts,
                sender_domain=sender_domain,
                now=now,
            )

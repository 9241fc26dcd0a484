"""Take what operators would read in many notices of one cause into one."""

from datetime import datetime
from itertools import groupby

from sqlalchemy import Engine, select, update

from relocation.ledger.outbox import Notice, enqueue, read_notice
from relocation.ledger.tables import NoticeState, is_in, notices
from relocation.notices.operator import digest_draft

MOST = 500
"""Most notices that one digest takes the place of."""


def gather_digests(engine: Engine, sender_domain: str, *, now: datetime) -> int:
    """Replace the due notices of one cause to one recipient by one that lists them, in one go.

    Those that were handed over before keep their bytes and stay as they are. Returns how many
    notices were replaced.
    """
    wanted = (
        select(notices)
        .where(
            is_in(notices.c.state, (NoticeState.QUEUED,)),
            notices.c.cause.is_not(None),
            notices.c.wire.is_(None),
            notices.c.not_before <= now,
        )
        .order_by(notices.c.id)
        .limit(MOST)
        .with_for_update(skip_locked=True)
    )
    replaced = 0
    with engine.begin() as connection:
        due = [read_notice(row) for row in connection.execute(wanted)]
        for _, same in groupby(sorted(due, key=_shared), key=_shared):
            group = list(same)
            if len(group) == 1:
                continue
            first = group[0]
            told = [(notice.relocation_id, notice.context) for notice in group]
            draft = digest_draft(first.recipient, first.channel, told, about=f"digest:{first.id}")
            enqueue(
                connection,
                first.relocation_id,
                first.round,
                [draft],
                sender_domain=sender_domain,
                now=now,
            )
            ids = [notice.id for notice in group]
            these = update(notices).where(notices.c.id.in_(ids))
            connection.execute(these.values(state=NoticeState.REPLACED))
            replaced += len(group)
    return replaced


def _shared(notice: Notice) -> tuple[str, str, str]:
    return notice.cause or "", notice.channel, notice.recipient.lower()

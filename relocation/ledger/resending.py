"""Notices that were given up or left in doubt, put back into the outbox by an operator."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select, update

from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.kinds import NoticeKind

GIVEN_UP = (NoticeState.FAILED, NoticeState.UNKNOWN)


@dataclass(frozen=True)
class PutBack:
    """How many notices go out again, and how many cannot."""

    queued: int
    without_link: int
    """Claims: their link was removed from the ledger when they were given up."""


def put_back(engine: Engine, relocation_id: str, *, now: datetime) -> PutBack:
    """Queue the notices of a relocation again that were given up or are in doubt.

    They are the same messages under the same Message-IDs, with as much time to be delivered as new
    ones. Idempotent until they are given up again. Raises UnknownRelocationError.
    """
    get_relocation(engine, relocation_id)
    given_up = (notices.c.relocation_id == relocation_id) & notices.c.state.in_(GIVEN_UP)
    is_claim = notices.c.kind == NoticeKind.CLAIM
    with engine.begin() as connection:
        claims = connection.execute(select(notices.c.id).where(given_up, is_claim)).all()
        queued = connection.execute(
            update(notices)
            .where(given_up, ~is_claim)
            .values(state=NoticeState.QUEUED, not_before=now, created_at=now, refusals=0)
        )
    return PutBack(queued.rowcount, len(claims))

"""The history of a relocation: what happened to it, in order, for the person who looks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select

from relocation.ledger.tables import HistoryEvent, events


@dataclass(frozen=True)
class HistoryEntry:
    """Something that happened to a relocation."""

    round: int
    at: datetime
    what: HistoryEvent
    detail: str


def record_event(
    connection: Connection,
    relocation_id: str,
    round_: int,
    what: HistoryEvent,
    *,
    at: datetime,
    detail: str = "",
) -> None:
    """Add to a relocation's history, in the transaction of what it tells of."""
    connection.execute(
        insert(events).values(
            relocation_id=relocation_id, round=round_, at=at, what=what, detail=detail
        )
    )


def history_of(engine: Engine, relocation_id: str) -> list[HistoryEntry]:
    """Return what happened to the relocation, in order."""
    columns = (events.c.round, events.c.at, events.c.what, events.c.detail)
    wanted = select(*columns).where(events.c.relocation_id == relocation_id)
    with engine.begin() as connection:
        return [
            HistoryEntry(**row._mapping) for row in connection.execute(wanted.order_by(events.c.id))
        ]

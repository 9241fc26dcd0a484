"""The history of a relocation: what happened to it, in order, for the person who looks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select

from relocation.database import reading
from relocation.ledger.tables import events
from relocation.steps import LifecycleEvent


@dataclass(frozen=True)
class HistoryEntry:
    """Something that happened to a relocation."""

    round: int
    at: datetime
    what: LifecycleEvent
    detail: str


def record_event(
    connection: Connection,
    relocation_id: str,
    round_: int,
    what: LifecycleEvent,
    *,
    at: datetime,
    detail: str = "",
) -> LifecycleEvent:
    """Add to a relocation's history, in the transaction of what it tells of; returns the event.

    A transition returns it too, to be announced once it is committed.
    """
    connection.execute(
        insert(events).values(
            relocation_id=relocation_id, round=round_, at=at, what=what, detail=detail
        )
    )
    return what


def history_of(engine: Engine, relocation_id: str) -> list[HistoryEntry]:
    """Return what happened to the relocation, in order."""
    columns = (events.c.round, events.c.at, events.c.what, events.c.detail)
    wanted = select(*columns).where(events.c.relocation_id == relocation_id)
    with reading(engine) as connection:
        return [
            HistoryEntry(**row._mapping) for row in connection.execute(wanted.order_by(events.c.id))
        ]

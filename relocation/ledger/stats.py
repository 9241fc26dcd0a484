"""Numbers about the service, to look at and to alert on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Engine, func, literal, select, true

from relocation.database import reading
from relocation.ledger.tables import (
    OPEN,
    NoticeState,
    TryOutcome,
    events,
    is_open,
    notices,
    relocations,
    task_tries,
)
from relocation.steps import LifecycleEvent, Status, Task

WINDOW: Final = timedelta(hours=1)
_MOST_TRIES: Final = 20_000
"""Newest tries of the window that are looked at: enough for steady percentiles."""
_TWENTIETHS: Final = 20


@dataclass(frozen=True)
class TaskSeconds:
    """How long the tries of a task took that ended in the last hour."""

    count: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Stats:
    """The service at one moment; what is counted over time is of the last hour."""

    relocations: Mapping[Status, int]
    oldest_open_seconds: float | None
    """How long the oldest relocation that has not ended has been at it; pauses count."""
    unsent: Mapping[NoticeState, int]
    """Notices that are not done with, by where they stand."""
    oldest_unsent_seconds: float | None
    tries: Mapping[Task, Mapping[TryOutcome, int]]
    happenings: Mapping[LifecycleEvent, int]
    """What the histories of all relocations say: resumptions, interruptions, ends and so on."""
    task_seconds: Mapping[Task, TaskSeconds]


def read_stats(ledger: Engine, now: datetime) -> Stats:
    """Read the numbers; each query walks an index, and none waits for a writer."""
    since = now - WINDOW
    with reading(ledger) as connection:
        ended = connection.execute(
            select(
                task_tries.c.task,
                task_tries.c.outcome,
                task_tries.c.started_at,
                task_tries.c.ended_at,
            )
            .where(task_tries.c.ended_at >= since)
            .order_by(task_tries.c.ended_at.desc())
            .limit(_MOST_TRIES)
        ).all()
        oldest_open = connection.scalar(select(func.min(relocations.c.created_at)).where(is_open))
        # Constants: a database uses a partial index for nothing else.
        unsent = notices.c.state.in_(
            [literal(state, notices.c.state.type, literal_execute=True) for state in OPEN]
        )
        oldest_unsent = connection.scalar(select(func.min(notices.c.created_at)).where(unsent))
        by_status = _count(connection, relocations.c.status)
        by_state = _count(connection, notices.c.state, unsent)
        by_event = _count(connection, events.c.what, events.c.at >= since)
    tries: dict[Task, dict[TryOutcome, int]] = defaultdict(lambda: defaultdict(int))
    seconds: dict[Task, list[float]] = defaultdict(list)
    for task, outcome, started_at, ended_at in ended:
        if outcome is not None:
            tries[task][outcome] += 1
        seconds[task].append((ended_at - started_at).total_seconds())
    return Stats(
        relocations={status: by_status.get(status, 0) for status in Status},
        oldest_open_seconds=_age(oldest_open, now),
        unsent={state: by_state.get(state, 0) for state in OPEN},
        oldest_unsent_seconds=_age(oldest_unsent, now),
        tries={task: dict(outcomes) for task, outcomes in tries.items()},
        happenings={what: by_event.get(what, 0) for what in LifecycleEvent},
        task_seconds={task: _spread(of_task) for task, of_task in seconds.items()},
    )


def _count(
    connection: Connection, column: Column[Any], where: ColumnElement[bool] | None = None
) -> dict[Any, int]:
    counted = select(column, func.count()).where(true() if where is None else where)
    return dict(connection.execute(counted.group_by(column)).all())


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max(0.0, (now - since).total_seconds())


def _spread(seconds: Sequence[float]) -> TaskSeconds:
    if len(seconds) == 1:
        return TaskSeconds(1, seconds[0], seconds[0])
    cuts = quantiles(seconds, n=_TWENTIETHS, method="inclusive")
    return TaskSeconds(len(seconds), cuts[_TWENTIETHS // 2 - 1], cuts[-1])

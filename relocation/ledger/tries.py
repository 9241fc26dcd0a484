"""Count the tries of each task, and record what is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from relocation.errors import FencedOut
from relocation.ledger.outbox import enqueue
from relocation.ledger.relocations import Hold, write_held
from relocation.ledger.tables import TryOutcome, task_tries, tasks_done, utc_now
from relocation.notices.kinds import Draft
from relocation.steps import Status, Step, Task


@dataclass(frozen=True)
class Try:
    """One try of a task, as the ledger has it."""

    relocation_id: str
    round: int
    task: Task
    number: int
    """Of this task in this round, from 1."""
    started_at: datetime
    ended_at: datetime | None
    outcome: TryOutcome | None
    error: str | None = field(repr=False)
    """For operators alone."""
    worker: str


def begin_try(
    engine: Engine, hold: Hold, task: Task, step: Step, worker: str, *, now: datetime | None = None
) -> int:
    """Record that a try of the task begins; returns its number within the round, from 1.

    A try that an earlier process of this round left open becomes INTERRUPTED. Raises FencedOut.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        write_held(connection, hold, now, step=step, task=task)
        interrupt_open_tries(connection, hold.relocation_id, hold.round, now)
        number = _count(connection, hold, task) + 1
        connection.execute(
            insert(task_tries).values(
                relocation_id=hold.relocation_id,
                round=hold.round,
                task=task,
                number=number,
                started_at=now,
                worker=worker,
            )
        )
    return number


def tries_used(engine: Engine, hold: Hold, task: Task) -> int:
    """Count the task's tries in this round, whatever became of them and in whichever process."""
    with engine.begin() as connection:
        return _count(connection, hold, task)


def was_tried(engine: Engine, relocation_id: str, task: Task) -> bool:
    """Say whether any round of the relocation has tried the task."""
    tried = select(task_tries.c.number).where(
        task_tries.c.relocation_id == relocation_id, task_tries.c.task == task
    )
    with engine.begin() as connection:
        return connection.execute(tried.limit(1)).first() is not None


def tries_of(engine: Engine, relocation_id: str) -> list[Try]:
    """Return the tries of every round of the relocation, in the order they began."""
    wanted = (
        select(task_tries)
        .where(task_tries.c.relocation_id == relocation_id)
        .order_by(task_tries.c.round, task_tries.c.started_at, task_tries.c.number)
    )
    with engine.begin() as connection:
        return [Try(**row._mapping) for row in connection.execute(wanted)]


def end_try(
    engine: Engine,
    hold: Hold,
    task: Task,
    number: int,
    outcome: TryOutcome,
    *,
    error: str,
    now: datetime | None = None,
) -> bool:
    """Record how a try that did not get done ended; `error` is for operators alone.

    A no-op, and False, where the try has an outcome already. Raises FencedOut.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        write_held(connection, hold, now)
        return _end(connection, hold, task, number, now, outcome=outcome, error=error)


def done_result(engine: Engine, relocation_id: str, task: Task) -> dict[str, Any] | None:
    """Return the result the task was recorded as done with, or None where it is not done."""
    done = select(tasks_done.c.result).where(
        tasks_done.c.relocation_id == relocation_id, tasks_done.c.task == task
    )
    with engine.begin() as connection:
        result: dict[str, Any] | None = connection.execute(done).scalar_one_or_none()
    return result


def complete_task(
    engine: Engine,
    hold: Hold,
    task: Task,
    number: int,
    result: Mapping[str, Any],
    *,
    drafts: Sequence[Draft] = (),
    sender_domain: str,
    now: datetime | None = None,
) -> None:
    """Record a task as done, with its result and its notices, in one transaction.

    Raises FencedOut, also where another process has begun a later try under the same hold.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        write_held(connection, hold, now)
        _record_done(connection, hold, task, number, result=result, now=now)
        enqueue(
            connection, hold.relocation_id, hold.round, drafts, sender_domain=sender_domain, now=now
        )


def succeed(
    engine: Engine,
    hold: Hold,
    number: int,
    result: Mapping[str, Any],
    *,
    drafts: Sequence[Draft] = (),
    sender_domain: str,
    now: datetime | None = None,
) -> None:
    """Record the last task as done and the relocation as SUCCESS, with its notices, in one go.

    Raises FencedOut, as `complete_task` does.
    """
    now = now or utc_now()
    with engine.begin() as connection:
        write_held(
            connection,
            hold,
            now,
            status=Status.SUCCESS,
            settled_round=hold.round,
            settled_at=now,
        )
        _record_done(connection, hold, Task.COMPLETE, number, result=result, now=now)
        enqueue(
            connection, hold.relocation_id, hold.round, drafts, sender_domain=sender_domain, now=now
        )


def interrupt_open_tries(
    connection: Connection, relocation_id: str, round_: int, now: datetime
) -> None:
    """Mark the tries of a round that never ended as INTERRUPTED; a no-op where there are none."""
    connection.execute(
        update(task_tries)
        .where(
            task_tries.c.relocation_id == relocation_id,
            task_tries.c.round == round_,
            task_tries.c.outcome.is_(None),
        )
        .values(outcome=TryOutcome.INTERRUPTED, ended_at=now)
    )


def _record_done(
    connection: Connection,
    hold: Hold,
    task: Task,
    number: int,
    *,
    result: Mapping[str, Any],
    now: datetime,
) -> None:
    if not _end(connection, hold, task, number, now, outcome=TryOutcome.DONE):
        raise FencedOut(
            "The relocation goes on elsewhere.",
            internal=f"try {number} of {task} of relocation {hold.relocation_id} is not open",
        )
    connection.execute(
        insert(tasks_done).values(
            relocation_id=hold.relocation_id,
            task=task,
            round=hold.round,
            done_at=now,
            result=dict(result),
        )
    )


def _end(
    connection: Connection, hold: Hold, task: Task, number: int, now: datetime, **values: Any
) -> bool:
    this_try = (
        task_tries.c.relocation_id == hold.relocation_id,
        task_tries.c.round == hold.round,
        task_tries.c.task == task,
        task_tries.c.number == number,
        task_tries.c.outcome.is_(None),
    )
    statement = update(task_tries).where(*this_try).values(ended_at=now, **values)
    return connection.execute(statement).rowcount == 1


def _count(connection: Connection, hold: Hold, task: Task) -> int:
    tries = (
        select(func.count())
        .select_from(task_tries)
        .where(
            task_tries.c.relocation_id == hold.relocation_id,
            task_tries.c.round == hold.round,
            task_tries.c.task == task,
        )
    )
    return connection.execute(tries).scalar_one()

"""Count the tries of each task, and record what is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    func,
    insert,
    or_,
    select,
    update,
)

from relocation.database import reading
from relocation.errors import FencedOut, RelocationError, StaleWorkError, TriesUsedUpError
from relocation.ledger.history import record_event
from relocation.ledger.holds import Hold, write_held
from relocation.ledger.outbox import enqueue
from relocation.ledger.results import R, RelocationCompleted, TaskResult, from_json, to_json
from relocation.ledger.tables import TryOutcome, task_tries, tasks_done
from relocation.notices.faults import fault_of
from relocation.notices.kinds import NoticeDraft
from relocation.steps import LifecycleEvent, Policy, Status, Task

_LEAVE_FILES = (
    Task.EXPORT_SOURCE,
    Task.SCAN_EXPORT,
    Task.CAPTURE_BASELINE,
    Task.CAPTURE_COLLIDING_USERS,
)


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
    reason: str | None
    """What its owner may read of why it did not get done, where the error has such a sentence."""
    advice: str | None
    error: str | None = field(repr=False)
    """For operators alone."""
    fault: str | None
    """What operators may read of the error in a mail."""
    worker: str


def begin_try(
    engine: Engine,
    hold: Hold,
    task: Task,
    policy: Policy,
    worker: str,
    *,
    now: datetime,
) -> int:
    """Record that a try of the task begins; returns its number within the round, from 1.

    A try that an earlier process of this round left open becomes INTERRUPTED, and counts. Raises
    FencedOut, and TriesUsedUpError where this round has none left.
    """
    with engine.begin() as connection:
        anew = {"roll_back": None} if task is Task.IMPORT_ORGANIZATIONS else {}
        write_held(connection, hold, now, step=policy.step, task=task, **anew)
        interrupt_open_tries(connection, hold.relocation_id, hold.round, now)
        used = _used(connection, hold.relocation_id, hold.round, task)
        if used < policy.tries:
            number = _last_number(connection, hold.relocation_id, hold.round, task) + 1
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
        told = _last_explained_try(connection, hold.relocation_id, hold.round, task)
    internal = f"all {used} tries of {task} were used up"
    reason = policy.reason
    if told is None or not told.reason:
        raise TriesUsedUpError(reason, internal=internal)
    reason = told.reason
    raise TriesUsedUpError(reason, advice=told.advice or "", internal=internal)


def tries_used(engine: Engine, relocation_id: str, round_: int, task: Task) -> int:
    """Count the task's tries in a round that did not get it done, in whichever process.

    One that did was followed by a further try only where its work was lost.
    """
    with reading(engine) as connection:
        return _used(connection, relocation_id, round_, task)


def last_try(engine: Engine, relocation_id: str, round_: int) -> Try | None:
    """Return the try that began last in a round, None where none did."""
    wanted = (
        select(task_tries)
        .where(task_tries.c.relocation_id == relocation_id, task_tries.c.round == round_)
        .order_by(task_tries.c.started_at.desc(), task_tries.c.number.desc())
    )
    with reading(engine) as connection:
        row = connection.execute(wanted.limit(1)).one_or_none()
    return Try(**row._mapping) if row else None


def last_explained_try(engine: Engine, relocation_id: str, round_: int, task: Task) -> Try | None:
    """Return the last try of a task in a round that says why it did not get done, if it can.

    One that was interrupted tells nothing: what the one before it said still holds.
    """
    with reading(engine) as connection:
        return _last_explained_try(connection, relocation_id, round_, task)


def was_tried(engine: Engine, relocation_id: str, task: Task) -> bool:
    """Say whether any round of the relocation has tried the task."""
    tried = select(task_tries.c.number).where(
        task_tries.c.relocation_id == relocation_id, task_tries.c.task == task
    )
    with reading(engine) as connection:
        return connection.execute(tried.limit(1)).first() is not None


def tries_of(engine: Engine, relocation_id: str) -> list[Try]:
    """Return the tries of every round of the relocation, in the order they began."""
    wanted = (
        select(task_tries)
        .where(task_tries.c.relocation_id == relocation_id)
        .order_by(task_tries.c.round, task_tries.c.started_at, task_tries.c.number)
    )
    with reading(engine) as connection:
        return [Try(**row._mapping) for row in connection.execute(wanted)]


def end_try(
    engine: Engine,
    hold: Hold,
    task: Task,
    number: int,
    outcome: TryOutcome,
    *,
    error: str,
    cause: BaseException | None = None,
    now: datetime,
) -> bool:
    """Record how a try that did not get done ended; `error` is for operators alone.

    The reason and the advice of the `cause` are kept with it, so that another process can settle
    what this one could not. A no-op, and False, where the try has an outcome already. Raises
    FencedOut.
    """
    told = {"fault": fault_of(cause)} if cause is not None else {}
    if isinstance(cause, RelocationError):
        told |= {"reason": cause.reason, "advice": cause.next_step}
    with engine.begin() as connection:
        write_held(connection, hold, now)
        return _end(connection, hold, task, number, now, outcome=outcome, error=error, **told)


def is_done(engine: Engine, relocation_id: str, task: Task) -> bool:
    """Say whether the task is recorded as done."""
    return done_round(engine, relocation_id, task) is not None


def done_result(engine: Engine, relocation_id: str, kind: type[R]) -> R | None:
    """Return the result that its task was recorded as done with, or None where it is not done.

    Raises StaleWorkError where what is stored cannot be read as that.
    """
    done = select(tasks_done.c.result).where(
        tasks_done.c.relocation_id == relocation_id, tasks_done.c.task == kind.task
    )
    with reading(engine) as connection:
        stored = connection.execute(done).scalar_one_or_none()
    return None if stored is None else from_json(kind, stored)


def needed_result(engine: Engine, relocation_id: str, kind: type[R]) -> R:
    """Return the result of a task that a later one builds on.

    Raises StaleWorkError as `done_result` does, and where the task is not done.
    """
    result = done_result(engine, relocation_id, kind)
    if result is None:
        raise StaleWorkError(
            "What an earlier task found is no longer there.",
            internal=f"relocation {relocation_id} has no result of {kind.task}",
        )
    return result


def done_round(engine: Engine, relocation_id: str, task: Task) -> int | None:
    """Return the round in which the task got done, or None where it is not done."""
    done = select(tasks_done.c.round).where(
        tasks_done.c.relocation_id == relocation_id, tasks_done.c.task == task
    )
    with reading(engine) as connection:
        return connection.execute(done).scalar_one_or_none()


def forget_work(connection: Connection, relocation_id: str) -> None:
    """Forget the tasks that left working files, which are to go; all of them before an import.

    What is imported or visible stays known as such: a rerun only makes the files again.
    """
    mine = tasks_done.c.relocation_id == relocation_id
    imported = select(tasks_done.c.task).where(mine, tasks_done.c.task == Task.IMPORT_ORGANIZATIONS)
    forgotten = tasks_done.delete().where(mine)
    if connection.execute(imported).one_or_none() is not None:
        forgotten = forgotten.where(tasks_done.c.task.in_(_LEAVE_FILES))
    connection.execute(forgotten)


def complete_task(
    engine: Engine,
    hold: Hold,
    number: int,
    result: TaskResult,
    *,
    drafts: Sequence[NoticeDraft] = (),
    sender_domain: str,
    now: datetime,
) -> None:
    """Record a task as done, with its result and its notices, in one transaction.

    Raises FencedOut, also where another process has begun a later try under the same hold.
    """
    with engine.begin() as connection:
        write_held(connection, hold, now, resumes=0)
        _record_done(connection, hold, number, result, now)
        enqueue(
            connection, hold.relocation_id, hold.round, drafts, sender_domain=sender_domain, now=now
        )


def succeed(
    engine: Engine,
    hold: Hold,
    number: int,
    result: RelocationCompleted,
    *,
    drafts: Sequence[NoticeDraft] = (),
    sender_domain: str,
    now: datetime,
) -> LifecycleEvent:
    """Record the last task as done and the relocation as SUCCESS, with its notices, in one go.

    Raises FencedOut, as `complete_task` does.
    """
    with engine.begin() as connection:
        write_held(
            connection,
            hold,
            now,
            status=Status.SUCCESS,
            settled_round=hold.round,
            settled_at=now,
            lease_until=None,
            pause_before_step=None,
            cancel_before_step=None,
        )
        what = LifecycleEvent.SUCCEEDED
        record_event(connection, hold.relocation_id, hold.round, what, at=now)
        _record_done(connection, hold, number, result, now)
        enqueue(
            connection, hold.relocation_id, hold.round, drafts, sender_domain=sender_domain, now=now
        )
    return what


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
    connection: Connection, hold: Hold, number: int, result: TaskResult, now: datetime
) -> None:
    task = result.task
    if not _end(connection, hold, task, number, now, outcome=TryOutcome.DONE):
        raise FencedOut(
            "Another process has taken this relocation over.",
            internal=f"try {number} of {task} of relocation {hold.relocation_id} is not open",
        )
    connection.execute(
        insert(tasks_done).values(
            relocation_id=hold.relocation_id,
            task=task,
            round=hold.round,
            done_at=now,
            result=to_json(result),
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


def _last_explained_try(
    connection: Connection, relocation_id: str, round_: int, task: Task
) -> Try | None:
    wanted = (
        select(task_tries)
        .where(
            task_tries.c.relocation_id == relocation_id,
            task_tries.c.round == round_,
            task_tries.c.task == task,
            task_tries.c.outcome.in_((TryOutcome.FAILED, TryOutcome.REFUSED)),
        )
        .order_by(task_tries.c.number.desc())
    )
    row = connection.execute(wanted.limit(1)).one_or_none()
    return Try(**row._mapping) if row else None


def _used(connection: Connection, relocation_id: str, round_: int, task: Task) -> int:
    undone = or_(task_tries.c.outcome.is_(None), task_tries.c.outcome != TryOutcome.DONE)
    tries = _tries_in_round(relocation_id, round_, task, func.count()).where(undone)
    return int(connection.execute(tries).scalar_one())


def _last_number(connection: Connection, relocation_id: str, round_: int, task: Task) -> int:
    last = _tries_in_round(relocation_id, round_, task, func.max(task_tries.c.number))
    return connection.execute(last).scalar_one() or 0


def _tries_in_round(
    relocation_id: str, round_: int, task: Task, wanted: ColumnElement[int]
) -> Select[int]:
    return select(wanted).where(
        task_tries.c.relocation_id == relocation_id,
        task_tries.c.round == round_,
        task_tries.c.task == task,
    )

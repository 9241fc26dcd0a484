"""Interrupt, resume, pause, and schedule what shall happen before a step (spec 6.7)."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, or_, update

from relocation.errors import CommandError
from relocation.ledger.history import record_event
from relocation.ledger.holds import Hold, Seen, fenced_out, hold_of, is_free
from relocation.ledger.relocations import get_relocation, insert_relocation
from relocation.ledger.tables import relocations, tasks_done
from relocation.ledger.tries import forget_work, interrupt_open_tries
from relocation.model import Relocation
from relocation.request import RelocationRequest
from relocation.steps import ACTIVE, POLICIES, LifecycleEvent, RollBackState, Status, Step

RESUME_AGAIN_AFTER = timedelta(seconds=20)
"""A run that was asked to go on is not asked again before: its process needs time to start."""

_SCHEDULABLE = (
    Step.PREPROCESSING,
    Step.VALIDATING,
    Step.IMPORTING,
    Step.POSTPROCESSING,
    Step.REVEALING,
)


def interrupt(engine: Engine, seen: Seen, detail: str, now: datetime) -> LifecycleEvent | None:
    """Record that the process that worked on the relocation is gone, and it is to be resumed.

    None, and nothing changes, where another process has or had it since.
    """
    hold = hold_of(seen)
    values = {"status": Status.INTERRUPTED, "lease_until": None, "updated_at": now}
    statement = (
        update(relocations)
        .where(
            relocations.c.id == hold.relocation_id,
            relocations.c.status == Status.IN_PROGRESS,
            is_free(seen, now),
        )
        .values(values)
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            return None
        interrupt_open_tries(connection, hold.relocation_id, hold.round, now)
        what = LifecycleEvent.INTERRUPTED
        return record_event(connection, hold.relocation_id, hold.round, what, at=now, detail=detail)


def record_unopened(
    engine: Engine,
    relocation_id: str,
    request: RelocationRequest,
    detail: str,
    now: datetime,
) -> LifecycleEvent | None:
    """Record that a run died before it opened its relocation, which is then to be resumed.

    None, and nothing changes, where the ledger has it, or its owner has another active one (B-9).
    """
    with engine.begin() as connection:
        new = insert_relocation(
            connection, relocation_id, request, round_=1, now=now, status=Status.INTERRUPTED
        )
        if not new:
            return None
        return record_event(
            connection, relocation_id, 1, LifecycleEvent.INTERRUPTED, at=now, detail=detail
        )


def reserve_resume(
    engine: Engine, relocation: Relocation, run_since: datetime, now: datetime
) -> LifecycleEvent | None:
    """Take it upon this process to ask for the resumption; None where another one just did.

    A run that is in another state than it was when it was asked is asked again at once: the answer
    was undone, as Prefect's worker does when it reports a crash for the second time.
    """
    asked = relocations.c
    not_asked = or_(
        asked.resume_asked_at.is_(None),
        asked.resume_asked_of.is_distinct_from(run_since),
        asked.resume_asked_at <= now - RESUME_AGAIN_AFTER,
    )
    statement = (
        update(relocations)
        .where(
            relocations.c.id == relocation.id,
            relocations.c.fence == relocation.fence,
            relocations.c.status == Status.INTERRUPTED,
            not_asked,
        )
        .values(resumes=relocations.c.resumes + 1, resume_asked_at=now, resume_asked_of=run_since)
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            return None
        what = LifecycleEvent.RESUME_ASKED
        return record_event(connection, relocation.id, relocation.round, what, at=now)


def record_pause(
    engine: Engine,
    hold: Hold,
    step: Step,
    now: datetime,
    *,
    suspended_since: datetime | None = None,
) -> LifecycleEvent:
    """Record that the process that holds the relocation stops before a step; raises FencedOut.

    Its run is suspended next, and that recorded by `confirm_suspension`, unless it is suspended
    already: since then, by the server's clock.
    """
    mine = (
        relocations.c.id == hold.relocation_id,
        relocations.c.fence == hold.fence,
        relocations.c.status == Status.IN_PROGRESS,
    )
    paused = _pause(
        engine,
        mine,
        hold.relocation_id,
        hold.round,
        detail=f"before {step.name}",
        now=now,
        step=step,
        suspended_since=suspended_since,
    )
    if paused is None:
        raise fenced_out(hold)
    return paused


def pause_abandoned(
    engine: Engine, relocation: Relocation, suspended_since: datetime, now: datetime
) -> LifecycleEvent | None:
    """Record as paused what nobody holds any more, because its flow run is.

    None, and nothing changes, where that is no longer so.
    """
    abandoned = (
        relocations.c.id == relocation.id,
        relocations.c.status.in_((Status.IN_PROGRESS, Status.INTERRUPTED)),
        is_free(relocation, now),
    )
    detail = "its flow run was paused"
    return _pause(
        engine,
        abandoned,
        relocation.id,
        relocation.round,
        detail=detail,
        now=now,
        suspended_since=suspended_since,
    )


def confirm_suspension(
    engine: Engine, relocation_id: str, fence: int, suspended_since: datetime
) -> bool:
    """Record that the run of a paused relocation is suspended, since then by the server's clock.

    Only then is it left to whoever unpauses it. False, and nothing changes, where a process has
    taken it over since, or that was recorded before.
    """
    mine = (
        relocations.c.id == relocation_id,
        relocations.c.fence == fence,
        # It may have been unpaused before its process came to suspend the run.
        relocations.c.status.in_((Status.PAUSED, Status.INTERRUPTED)),
        relocations.c.suspended_since.is_distinct_from(suspended_since),
    )
    statement = update(relocations).where(*mine).values(suspended_since=suspended_since)
    with engine.begin() as connection:
        return connection.execute(statement).rowcount == 1


def record_unpause(
    engine: Engine, relocation: Relocation, detail: str, now: datetime
) -> LifecycleEvent | None:
    """Record that a paused relocation is to go on; None where it is paused no more.

    From here on it is as one that was interrupted: its run is scheduled again until it goes on.
    """
    paused = (
        relocations.c.id == relocation.id,
        relocations.c.fence == relocation.fence,
        relocations.c.status == Status.PAUSED,
    )
    values = {"status": Status.INTERRUPTED, "resumes": 0, "updated_at": now}
    with engine.begin() as connection:
        if connection.execute(update(relocations).where(*paused).values(values)).rowcount == 0:
            return None
        return record_event(
            connection,
            relocation.id,
            relocation.round,
            LifecycleEvent.UNPAUSED,
            at=now,
            detail=detail,
        )


def _pause(
    engine: Engine,
    which: tuple[ColumnElement[bool], ...],
    relocation_id: str,
    round_: int,
    *,
    detail: str,
    now: datetime,
    **values: Any,
) -> LifecycleEvent | None:
    paused = {
        "status": Status.PAUSED,
        "lease_until": None,
        "pause_before_step": None,
        "updated_at": now,
        **values,
    }
    with engine.begin() as connection:
        if connection.execute(update(relocations).where(*which).values(paused)).rowcount == 0:
            return None
        interrupt_open_tries(connection, relocation_id, round_, now)
        what = LifecycleEvent.PAUSED
        return record_event(connection, relocation_id, round_, what, at=now, detail=detail)


def schedule_pause(engine: Engine, relocation_id: str, step: Step | None, now: datetime) -> Step:
    """Let the relocation pause before a later step, the next one if none is named (A-131).

    Returns the step. Raises PermanentError where it has ended, or there is no such later step.
    """
    relocation = get_relocation(engine, relocation_id)
    step = _later_step(relocation, step, "pause")
    changes = {"pause_before_step": step}
    _change(
        engine,
        relocation,
        changes,
        LifecycleEvent.PAUSE_SCHEDULED,
        detail=f"before {step.name}",
        now=now,
    )
    return step


def schedule_cancel(engine: Engine, relocation_id: str, step: Step | None, now: datetime) -> Step:
    """Let the relocation be cancelled before a later step, the next one if none is named (A-132).

    Returns the step; raises as `schedule_pause` does.
    """
    relocation = get_relocation(engine, relocation_id)
    step = _later_step(relocation, step, "be cancelled")
    changes = {"cancel_before_step": step}
    _change(
        engine,
        relocation,
        changes,
        LifecycleEvent.CANCEL_SCHEDULED,
        detail=f"before {step.name}",
        now=now,
    )
    return step


def reschedule_pause(
    engine: Engine, relocation_id: str, until: Step | None, now: datetime
) -> Relocation:
    """Set or remove the next pause of a relocation that is paused or shall pause (A-134).

    Returns it as it was before. Raises PermanentError for any other, and for a step that is not
    later than the one it is in.
    """
    relocation = get_relocation(engine, relocation_id)
    if relocation.status is not Status.PAUSED and relocation.pause_before_step is None:
        raise CommandError("This relocation is not paused, and no pause is scheduled.")
    step = _later_step(relocation, until, "pause") if until else None
    what = LifecycleEvent.PAUSE_SCHEDULED if step else LifecycleEvent.SCHEDULE_CLEARED
    detail = f"before {step.name}" if step else ""
    _change(engine, relocation, {"pause_before_step": step}, what, detail=detail, now=now)
    return relocation


def _later_step(relocation: Relocation, step: Step | None, what: str) -> Step:
    if relocation.status not in ACTIVE:
        raise CommandError(
            f"This relocation has ended ({relocation.status}) and can no longer {what}."
        )
    later = [candidate for candidate in _SCHEDULABLE if candidate > relocation.step]
    if not later:
        raise CommandError(
            f"This relocation is in {relocation.step.name}: there is no later step before which "
            f"it could {what}."
        )
    if step is None:
        return later[0]
    if step not in later:
        names = ", ".join(candidate.name for candidate in later)
        raise CommandError(
            f"This relocation is in {relocation.step.name}: it can {what} before {names}."
        )
    return step


def _change(
    engine: Engine,
    relocation: Relocation,
    values: dict[str, Any],
    what: LifecycleEvent,
    *,
    detail: str,
    now: datetime,
) -> None:
    """Schedule something, unless the relocation has moved on since it was looked at."""
    unmoved = (
        relocations.c.id == relocation.id,
        relocations.c.status.in_(ACTIVE),
        relocations.c.step == relocation.step,
        relocations.c.round == relocation.round,
    )
    with engine.begin() as connection:
        changed = connection.execute(update(relocations).where(*unmoved).values(values)).rowcount
        if not changed:
            raise CommandError(
                "This relocation has changed in the meantime. Check it, then try again."
            )
        record_event(connection, relocation.id, relocation.round, what, at=now, detail=detail)


def begin_roll_back(engine: Engine, hold: Hold, *, cancels: bool, now: datetime) -> None:
    """Record that the import is about to be undone, before its first row goes; idempotent.

    A rerun then imports anew. Where it `cancels`, whoever goes on with the relocation cancels it
    too, before any step. Raises FencedOut.
    """
    values: dict[str, Any] = {"roll_back": RollBackState.BEGUN, "updated_at": now}
    if cancels:
        values["cancel_before_step"] = min(Step)
    later = [task for task, policy in POLICIES.items() if policy.step >= Step.IMPORTING]
    mine = tasks_done.c.relocation_id == hold.relocation_id
    with engine.begin() as connection:
        row = _write_under(connection, hold, values)
        connection.execute(tasks_done.delete().where(mine, tasks_done.c.task.in_(later)))
        if row.discarding_round >= row.settled_round > 0:
            forget_work(connection, hold.relocation_id)  # its files are to go, or are gone


def end_roll_back(engine: Engine, hold: Hold, now: datetime) -> None:
    """Record that nothing of the import is left; raises FencedOut."""
    with engine.begin() as connection:
        _write_under(connection, hold, {"roll_back": RollBackState.DONE, "updated_at": now})
        record_event(connection, hold.relocation_id, hold.round, LifecycleEvent.ROLLED_BACK, at=now)


def refuse_cancel(engine: Engine, hold: Hold, detail: str, now: datetime) -> None:
    """Drop a scheduled cancellation that came too late; raises FencedOut."""
    with engine.begin() as connection:
        _write_under(connection, hold, {"cancel_before_step": None, "updated_at": now})
        what = LifecycleEvent.SCHEDULE_CLEARED
        record_event(connection, hold.relocation_id, hold.round, what, at=now, detail=detail)


def _write_under(connection: Connection, hold: Hold, values: dict[str, Any]) -> Row[Any]:
    """Update the relocation under a hold, whatever its status, and return its row."""
    held = (relocations.c.id == hold.relocation_id, relocations.c.fence == hold.fence)
    statement = update(relocations).where(*held).values(values).returning(relocations)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise fenced_out(hold)
    return row

"""Forget the people of relocations that ended for good long ago: the numbers stay."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from relocation.ledger.tables import (
    OPEN,
    events,
    has_chunks,
    is_in,
    is_open,
    is_remembered,
    notices,
    relocations,
    task_reports,
    task_tries,
    tasks_done,
)
from relocation.steps import LifecycleEvent, RollBackState, Status, Task

AT_ONCE = 500
"""Most relocations that one sweep sees to; the next one sees to the rest."""
BATCH = 50
"""Most relocations that are forgotten in one transaction."""
MOST_NOTICES = 5_000
"""Notices after which a transaction takes no further relocation: others wait for it on SQLite."""
_NOBODY: Mapping[str, Any] = {
    "owner": "",
    "owner_email": None,
    "creator": None,
    "creator_email": None,
    "plan": None,
    "internal_error": None,
    "notice_key": "",
}
NOTHING_SAID: Mapping[str, Any] = {
    "recipient": "",
    "about": "",
    "context": {},
    "wire": None,
    "reply": None,
    "valid_until": None,
}
"""What is left of a notice whose recipient is forgotten: when it went, and what became of it."""


def forget_people(engine: Engine, before: datetime, *, now: datetime) -> int:
    """Remove names, addresses, mails and histories of what last changed before then.

    Only of relocations that succeeded, or were cancelled and have left nothing in the destination,
    whose mails are all done with and whose links are dead. In few transactions, and idempotent;
    returns how many were forgotten, which is bounded.
    """
    forgotten = 0
    while forgotten < AT_ONCE:
        with engine.begin() as connection:
            rounds = _take(connection, before, now, min(BATCH, AT_ONCE - forgotten))
            if rounds:
                _forget(connection, rounds, now)
        if not rounds:
            break
        forgotten += len(rounds)
    return forgotten


def may_be_forgotten() -> ColumnElement[bool]:
    """Match what no resume, roll back, claim or mail needs any more: parameter `at`, the time."""
    imported = exists().where(
        task_tries.c.relocation_id == relocations.c.id,
        task_tries.c.task == Task.IMPORT_ORGANIZATIONS,
    )
    leaves_nothing = or_(
        relocations.c.status == Status.SUCCESS,
        relocations.c.roll_back == RollBackState.DONE,
        not_(imported),
    )
    free = or_(relocations.c.lease_until.is_(None), relocations.c.lease_until <= bindparam("at"))
    needed = exists().where(
        notices.c.relocation_id == relocations.c.id,
        or_(is_in(notices.c.state, OPEN), notices.c.valid_until > bindparam("at")),
    )
    return and_(is_remembered, not_(is_open), leaves_nothing, free, not_(needed))


def _take(connection: Connection, before: datetime, now: datetime, most: int) -> dict[str, int]:
    """Lock some that may be forgotten; returns their rounds.

    What is given up can be sent again for as long as it was last due a short time ago.
    """
    lately = exists().where(
        notices.c.relocation_id == relocations.c.id, notices.c.not_before >= before
    )
    old = (
        select(relocations.c.id, relocations.c.round)
        .where(may_be_forgotten(), relocations.c.updated_at < before, not_(lately))
        .order_by(relocations.c.updated_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    rounds: dict[str, int] = dict(map(tuple, connection.execute(old, {"at": now})))
    # A mail may have been queued again between this statement's view and its locks.
    of_these = notices.c.relocation_id.in_(rounds)
    waiting = select(notices.c.relocation_id).where(of_these, is_in(notices.c.state, OPEN))
    for id_ in connection.execute(waiting.distinct()).scalars():
        del rounds[id_]
    many = select(notices.c.relocation_id, func.count()).where(of_these)
    counts = dict(map(tuple, connection.execute(many.group_by(notices.c.relocation_id))))
    taken, total = dict[str, int](), 0
    for id_, round_ in rounds.items():
        total += counts.get(id_, 0)
        if taken and total > MOST_NOTICES:
            break
        taken[id_] = round_
    return taken


def _forget(connection: Connection, rounds: Mapping[str, int], now: datetime) -> None:
    ids = list(rounds)
    gone = {**NOTHING_SAID, "message_id": notices.c.dedupe_key}  # an older one could be tested
    connection.execute(update(notices).where(notices.c.relocation_id.in_(ids)).values(gone))
    connection.execute(delete(task_reports).where(task_reports.c.relocation_id.in_(ids)))
    unsaid = dict.fromkeys(("reason", "advice", "error", "fault"))
    tries = update(task_tries).where(task_tries.c.relocation_id.in_(ids))
    connection.execute(tries.values(unsaid))
    _keep_numbers(connection, ids)
    connection.execute(delete(events).where(events.c.relocation_id.in_(ids)))
    connection.execute(
        insert(events),
        [
            {
                "relocation_id": id_,
                "round": round_,
                "at": now,
                "what": LifecycleEvent.FORGOTTEN,
                "detail": "",
            }
            for id_, round_ in rounds.items()
        ],
    )
    these = update(relocations).where(relocations.c.id.in_(ids))
    # The fence: whoever read addresses a moment ago can write none of them back.
    taken_over = {"fence": relocations.c.fence + 1, "forgotten_at": now}
    connection.execute(these.values({**_NOBODY, **taken_over}))


def _keep_numbers(connection: Connection, ids: Collection[str]) -> None:
    done = tasks_done.c
    rows = connection.execute(
        select(done.relocation_id, done.task, done.result).where(done.relocation_id.in_(ids))
    ).all()
    changed = [
        {"of": row.relocation_id, "its": row.task, "numbers": numbers_of(row.result)}
        for row in rows
    ]
    if changed:
        one = (done.relocation_id == bindparam("of"), done.task == bindparam("its"))
        statement = update(tasks_done).where(*one).values(result=bindparam("numbers"))
        connection.execute(statement, changed)


def numbers_of(result: Any) -> Any:
    """Return JSON data of the same shape with nothing but numbers; ids of people are none."""
    match result:
        case Mapping():
            return {k: None if k == "owner_id" else numbers_of(v) for k, v in result.items()}
        case list():
            return []
        case str():
            return ""
        case _:
            return result


def with_old_chunks(engine: Engine, before: datetime, after: str = "") -> dict[str, int]:
    """Return the fences of those forgotten before then whose chunk records may still be there.

    Some at a time, in the order of their ids: those `after` one.
    """
    wanted = (
        select(relocations.c.id, relocations.c.fence)
        .where(has_chunks, relocations.c.forgotten_at < before, relocations.c.id > after)
        .order_by(relocations.c.id)
        .limit(AT_ONCE)
    )
    with engine.begin() as connection:
        return dict(map(tuple, connection.execute(wanted)))


def record_chunks_removed(engine: Engine, ids: Collection[str], now: datetime) -> None:
    """Record that the destination's records of these imports are gone; idempotent."""
    these = update(relocations).where(relocations.c.id.in_(ids), has_chunks)
    with engine.begin() as connection:
        connection.execute(these.values(chunks_removed_at=now))

"""Forget one person, in all relocations that have ended."""

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Engine, Table, func, or_, select, update

from relocation.errors import CommandError
from relocation.ledger.forgetting import NOTHING_SAID, may_be_forgotten
from relocation.ledger.history import record_event
from relocation.ledger.tables import (
    OPEN,
    NoticeState,
    events,
    is_in,
    is_open,
    notices,
    relocations,
    task_reports,
    task_tries,
    tasks_done,
)
from relocation.notices.kinds import NoticeKind
from relocation.steps import LifecycleEvent, Status
from relocation.text import listed

BATCH = 100
"""Relocations that are read, and changed in one transaction."""
REMOVED = "(forgotten)"
_BY_NAME = "users"
"""What a plan says of users, by their names; all other keys are ours."""
_TEXTS: Mapping[Table, tuple[str, ...]] = {
    relocations: ("reason", "internal_error", "plan"),
    events: ("detail",),
    task_tries: ("reason", "advice", "error", "fault"),
    tasks_done: ("result",),
    task_reports: ("report",),
    notices: ("context", "reply"),
}
"""What may name a person in passing."""
_ROLES: Mapping[Table, tuple[str, ...]] = {
    relocations: ("owner", "owner_email", "creator", "creator_email"),
    notices: ("recipient", "about"),
}
"""What names whom it is for."""


@dataclass(frozen=True)
class Forgotten:
    """In which relocations a person was forgotten, and which still name them, and why."""

    relocations: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def forget_person(engine: Engine, name: str, now: datetime) -> Forgotten:
    """Remove a person, by username or address, from all relocations that ended for good.

    Names, addresses, mails to them, and their name wherever a text or a finding has it; the numbers
    stay, and so do hashes that keep anybody from mailing them twice. One that failed, or
    is not rolled back, is left as it is. Idempotent. Raises CommandError, before anything is
    removed, while a relocation that names them is at work or a mail of it waits.
    """
    names = _names_of(engine, name)
    found = _naming(engine, names)
    busy = _busy(engine, found)
    if busy:
        raise CommandError(
            f"Some relocations that name this person haven't ended, or have emails waiting: "
            f"{listed(busy)}. Let them end, or cancel them, then try again."
        )
    done = Forgotten()
    for start in range(0, len(found), BATCH):
        some = found[start : start + BATCH]
        with engine.begin() as connection:
            at = {"at": now}
            free = select(relocations.c.id, relocations.c.round)
            free = free.where(relocations.c.id.in_(some), may_be_forgotten()).with_for_update()
            rounds: dict[str, int] = dict(map(tuple, connection.execute(free, at)))
            if rounds:
                _forget(connection, rounds, names, now)
        done.relocations.extend(rounds)
        done.kept.update({id_: _why_kept(engine, id_) for id_ in some if id_ not in rounds})
    return done


def _names_of(engine: Engine, name: str) -> list[str]:
    """Return what a person is called: what was given, and what the ledger knows to be the same."""
    called, rows, notice = {name.lower()}, relocations.c, notices.c
    pairs = (
        select(rows.owner, rows.owner_email),
        select(rows.creator, rows.creator_email),
        select(notice.about, notice.recipient).where(notice.kind == NoticeKind.CLAIM),
    )
    with engine.begin() as connection:
        for pair in pairs:
            user, address = pair.selected_columns
            # Exactly too: a database may know the lower case of ASCII alone.
            is_this = (or_(one == name, func.lower(one) == name.lower()) for one in (user, address))
            theirs = pair.where(or_(*is_this)).distinct()
            for row in connection.execute(theirs):
                called.update(str(one).lower() for one in row if one)
    return sorted(called, key=len, reverse=True)


def _naming(engine: Engine, names: Collection[str]) -> list[str]:
    """Return the ids of relocations of which any row names the person."""
    theirs, last = _pattern(names), ""
    found: dict[str, None] = {}
    while True:
        with engine.begin() as connection:
            wanted = select(relocations.c.id).where(
                relocations.c.id > last, relocations.c.forgotten_at.is_(None)
            )
            ids = connection.execute(wanted.order_by(relocations.c.id).limit(BATCH)).scalars().all()
            for table, texts in _TEXTS.items():
                columns = [table.c[name] for name in (*texts, *_ROLES.get(table, ()))]
                of = _id_of(table)
                for id_, *values in connection.execute(select(of, *columns).where(of.in_(ids))):
                    if any(_without(value, theirs) != value for value in map(_opened, values)):
                        found[id_] = None
        if not ids:
            return list(found)
        last = ids[-1]


def _busy(engine: Engine, ids: Collection[str]) -> list[str]:
    waiting = select(notices.c.relocation_id).where(is_in(notices.c.state, OPEN))
    busy = or_(is_open, relocations.c.id.in_(waiting))
    with engine.begin() as connection:
        wanted = select(relocations.c.id).where(relocations.c.id.in_(ids), busy)
        return list(connection.execute(wanted).scalars())


def _why_kept(engine: Engine, relocation_id: str) -> str:
    wanted = select(relocations.c.status).where(relocations.c.id == relocation_id)
    with engine.begin() as connection:
        status = connection.execute(wanted).scalar_one()
    if status is Status.FAILURE:
        return "it failed and can be resumed"
    if status is Status.CANCELLED:
        return "what it imported is not rolled back"
    return "somebody works on it, or a link in a mail still works"


def _forget(
    connection: Connection, rounds: Mapping[str, int], names: Collection[str], now: datetime
) -> None:
    theirs = _pattern(names)
    for table, texts in _TEXTS.items():
        key = list(table.primary_key)
        columns = [table.c[name] for name in (*texts, *_ROLES.get(table, ()))]
        more = [notices.c.kind] if table is notices else []
        rows = select(*key, *(one for one in columns if one not in key), *more)
        for row in connection.execute(rows.where(_id_of(table).in_(list(rounds)))).all():
            changes = _changes(table, row._mapping, theirs)
            if changes:
                this = (column == row._mapping[column.name] for column in key)
                connection.execute(update(table).where(*this).values(changes))
    # Mails to others that arrived: their bytes may name anybody, and nobody sends them again.
    sent = update(notices).where(
        notices.c.relocation_id.in_(list(rounds)), notices.c.state == NoticeState.SENT
    )
    connection.execute(sent.values(wire=None))
    # The fence: whoever read addresses a moment ago can write none of them back.
    these = update(relocations).where(relocations.c.id.in_(list(rounds)))
    connection.execute(these.values(fence=relocations.c.fence + 1))
    for id_, round_ in rounds.items():
        what = LifecycleEvent.FORGOTTEN
        record_event(connection, id_, round_, what, at=now, detail="one person")


def _changes(table: Table, row: Mapping[Any, Any], theirs: re.Pattern[str]) -> dict[str, Any]:
    if table is notices:
        whose = row["about"] if row["kind"] is NoticeKind.CLAIM else row["recipient"]
        if theirs.fullmatch(whose):
            return dict(NOTHING_SAID)
    changes: dict[str, Any] = {}
    for name in _TEXTS[table]:
        value = _opened(row[name])
        without = _without(value, theirs)
        if without != value:
            packed = isinstance(row[name], bytes)
            changes[name] = zlib.compress(orjson.dumps(without), level=6) if packed else without
    if table is relocations:
        empty = {"owner": ""}
        for name in _ROLES[table]:
            if row[name] and theirs.fullmatch(row[name]):
                changes[name] = empty.get(name)
    return changes


def _id_of(table: Table) -> Column[Any]:
    return table.c.id if table is relocations else table.c.relocation_id


def _pattern(names: Collection[str]) -> re.Pattern[str]:
    """Match the names, and not as a part of longer ones."""
    any_of = "|".join(map(re.escape, names))
    return re.compile(rf"(?<![\w.@+-])(?:{any_of})(?![\w@+-]|\.\w)", re.IGNORECASE)


def _opened(value: Any) -> Any:
    """Return JSON data as such where it is stored compressed."""
    return orjson.loads(zlib.decompress(value)) if isinstance(value, bytes) else value


def _without(value: Any, theirs: re.Pattern[str], *, by_name: bool = False) -> Any:
    """Return text or JSON data without the names; what is kept `by_name` goes with the name."""
    if isinstance(value, str):
        return theirs.sub(REMOVED, value)
    if isinstance(value, Mapping):
        return {
            key: _without(one, theirs, by_name=key == _BY_NAME)
            for key, one in value.items()
            if not (by_name and theirs.fullmatch(key))
        }
    if isinstance(value, (list, tuple)):
        return [_without(one, theirs) for one in value]
    return value

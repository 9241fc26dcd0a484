"""Create, read and list relocations."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Text, cast, func, or_, select

from relocation.database import insert_if_new, reading
from relocation.errors import UnknownRelocationError
from relocation.ledger.tables import is_open, relocations
from relocation.model import Relocation
from relocation.plan import Plan
from relocation.request import RelocationRequest, live_archive
from relocation.steps import ACTIVE, Status, Step
from relocation.text import one_line


def insert_relocation(
    connection: Connection,
    relocation_id: str,
    request: RelocationRequest,
    *,
    round_: int,
    now: datetime,
    status: Status = Status.FAILURE,
) -> bool:
    """Insert a relocation that nobody has opened, and say whether it was new.

    A no-op where it exists, or where it would be active and its owner has another active one (B-9).
    """
    row = {
        "id": relocation_id,
        "status": status,
        "step": Step.UPLOADING,
        "round": round_,
        "settled_round": 0,
        "fence": 0,
        "owner": request.owner,
        "creator": request.creator,
        "archive": request.archive or (live_archive(relocation_id) if request.source else ""),
        "source": request.source,
        "plan": request.plan.model_dump() if request.plan != Plan() else None,
        "organizations": request.organizations,
        "created_at": now,
        "updated_at": now,
        "notice_key": secrets.token_hex(16),
    }
    return insert_if_new(connection, relocations, row)


def find_relocation(engine: Engine, relocation_id: str) -> Relocation | None:
    """Return the relocation, or None where there is none of this id."""
    with reading(engine) as connection:
        wanted = select(relocations).where(relocations.c.id == relocation_id)
        row = connection.execute(wanted).one_or_none()
    return to_relocation(row) if row else None


def get_relocation(engine: Engine, relocation_id: str) -> Relocation:
    """Return the relocation; raises PermanentError where there is none of this id."""
    relocation = find_relocation(engine, relocation_id)
    if relocation is None:
        raise unknown_relocation(relocation_id)
    return relocation


def ids_beginning(engine: Engine, begin: str) -> list[str]:
    """Return the ids that begin so, in upper or lower case; of many, some."""
    wanted = select(relocations.c.id).where(relocations.c.id.istartswith(begin, autoescape=True))
    with reading(engine) as connection:
        return list(connection.execute(wanted.order_by(relocations.c.id).limit(5)).scalars())


def known_ids(engine: Engine, ids: Sequence[str]) -> set[str]:
    """Return those of some ids, few enough for one statement, that the ledger has."""
    wanted = select(relocations.c.id).where(relocations.c.id.in_(ids))
    with reading(engine) as connection:
        return set(connection.execute(wanted).scalars())


def unknown_relocation(relocation_id: str) -> UnknownRelocationError:
    """Return the error for an id that the ledger does not have."""
    return UnknownRelocationError(
        "There is no such relocation. Check the ID.",
        internal=f"There is no relocation {one_line(relocation_id, limit=60)}. List all of them "
        "with: relocation list",
    )


def list_relocations(
    engine: Engine,
    *,
    status: Status | None = None,
    owner: str | None = None,
    words: Sequence[str] = (),
    limit: int = 50,
) -> list[Relocation]:
    """Return relocations, newest first.

    Every word must be part of the id, of a slug, or of the name of owner or creator, in upper or
    lower case.
    """
    wanted = select(relocations)
    if status is not None:
        wanted = wanted.where(relocations.c.status == status)
    if owner is not None:
        wanted = wanted.where(relocations.c.owner == owner)
    searched = (
        relocations.c.id,
        cast(relocations.c.owner, Text),
        func.coalesce(cast(relocations.c.creator, Text), ""),
        cast(relocations.c.organizations, Text),
    )
    for word in words:
        wanted = wanted.where(or_(*(text.icontains(word, autoescape=True) for text in searched)))
    newest = wanted.order_by(relocations.c.created_at.desc(), relocations.c.id).limit(limit)
    with reading(engine) as connection:
        return [to_relocation(row) for row in connection.execute(newest)]


def failed_relocations(
    engine: Engine, *, cause: str | None = None, since: datetime | None = None
) -> list[Relocation]:
    """Return the relocations that failed and were not begun again, the oldest failure first.

    Those of one cause, or those since then, or both.
    """
    wanted = select(relocations).where(relocations.c.status == Status.FAILURE, ~is_open)
    if cause is not None:
        wanted = wanted.where(relocations.c.cause == cause)
    if since is not None:
        wanted = wanted.where(relocations.c.settled_at >= since)
    ordered = wanted.order_by(relocations.c.settled_at, relocations.c.id)
    with reading(engine) as connection:
        return [to_relocation(row) for row in connection.execute(ordered)]


def owners_with_active_relocations(engine: Engine) -> set[str]:
    """Return the owners who can begin no other relocation for now (B-9)."""
    wanted = select(relocations.c.owner).where(relocations.c.status.in_(ACTIVE))
    with reading(engine) as connection:
        return set(connection.execute(wanted).scalars())


def to_relocation(row: Row[Any]) -> Relocation:
    """Return a row of the table as a relocation."""
    columns = dict(row._mapping)
    del columns["notice_key"]  # a secret, of the outbox alone
    return Relocation(**columns | {"organizations": tuple(columns["organizations"])})

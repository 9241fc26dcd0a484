"""Remove from a destination what a relocation inserted, and nothing else (B-7)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, inspect, select

from relocation.catalogue import load_catalogue
from relocation.errors import PermanentError
from relocation.text import listed
from relocation.transfer.chunks import (
    GRANTED,
    check_bound,
    delete_chunk,
    fenced,
    inserted_pks,
    read_chunks,
)
from relocation.transfer.ownership import lost_passwords
from relocation.transfer.rows import select_in, slices
from relocation.transfer.schema import LOST_PASSWORDS, ModelTable, reflect

_USER = "sentry.user"
_MEMBER = "sentry.organizationmember"


@dataclass(frozen=True)
class RollBackReport:
    """How many rows of each model were removed, in the order they went."""

    removed: Mapping[str, int]


def roll_back(engine: Engine, relocation_id: str, fence: int) -> RollBackReport:
    """Remove the rows this relocation inserted, with its claim tokens and its owner's memberships.

    Chunk by chunk, children before parents, each with its record in one transaction: killed and
    called again it goes on, and an import that follows begins anew. Rows it merged with stay.
    Raises PermanentError, before anything is removed, where rows that others added since refer to
    its own; FencedOut and ConfigurationError as `fenced` does.
    """
    check_bound(engine, relocation_id, fence)
    tables = reflect(engine, load_catalogue().values())
    with engine.connect() as connection:
        placed = _placed(connection, relocation_id, tables)
        foreign = dict(_foreign_rows(connection, tables, placed))
    if foreign:
        named = listed([f"{count} of {model}" for model, count in foreign.items()])
        raise PermanentError(
            f"Rows that were added since hang on what was imported: {named}. Remove or move them, "
            "then ask again."
        )
    removed: dict[str, int] = {}
    _remove_tokens(engine, relocation_id, fence, sorted(placed.get(_USER, ())))
    for model in reversed(list(load_catalogue())):
        if model in tables:
            count = _remove_model(engine, relocation_id, fence, tables[model])
            if count:
                removed[model] = count
    return RollBackReport(removed)


def _placed(
    connection: Connection, relocation_id: str, tables: Mapping[str, ModelTable]
) -> dict[str, set[int]]:
    """Return where the relocation's own rows are, by model."""
    placed = {
        model: set(inserted_pks(connection, relocation_id, model).values()) for model in tables
    }
    granted = inserted_pks(connection, relocation_id, GRANTED).values()
    placed.setdefault(_MEMBER, set()).update(granted)
    return {model: pks for model, pks in placed.items() if pks}


def _foreign_rows(
    connection: Connection, tables: Mapping[str, ModelTable], placed: Mapping[str, set[int]]
) -> Iterator[tuple[str, int]]:
    """Count, by model, the rows that refer to the relocation's own and are not its own."""
    for name, table in tables.items():
        own, found = placed.get(name, set()), set[int]()
        for field, key in table.model.foreign_keys.items():
            if field not in table.fields or key.to not in placed:
                continue
            rows = select(table.table.c.id)
            targets = placed[key.to]
            found |= {pk for (pk,) in select_in(connection, rows, table.column(field).in_, targets)}
        if found - own:
            yield name, len(found - own)


def _remove_tokens(engine: Engine, relocation_id: str, fence: int, users: list[int]) -> None:
    if not users or not inspect(engine).has_table(LOST_PASSWORDS):
        return
    tokens = lost_passwords(engine)
    for piece in slices(users):
        with fenced(engine, relocation_id, fence) as connection:
            connection.execute(delete(tokens).where(tokens.c.user_id.in_(piece)))


def _remove_model(engine: Engine, relocation_id: str, fence: int, table: ModelTable) -> int:
    """Remove the model's chunks, the last one first; return how many rows that were."""
    name, removed = table.model.name, 0
    records = [GRANTED, name] if name == _MEMBER else [name]
    with engine.connect() as connection:
        chunks = [
            (record, number, chunk)
            for record in records
            for number, chunk in reversed(
                list(enumerate(read_chunks(connection, relocation_id, record)))
            )
        ]
    for record, number, chunk in chunks:
        with fenced(engine, relocation_id, fence) as connection:
            pk = table.table.c.id
            for piece in slices(chunk.inserted.values()):
                removed += connection.execute(delete(table.table).where(pk.in_(piece))).rowcount
            delete_chunk(connection, relocation_id, record, number)
    return removed

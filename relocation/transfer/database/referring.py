"""Find the columns of a destination that refer to the rows of a model."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnClause,
    Connection,
    column,
    inspect,
    literal,
    null,
    select,
    table,
    union_all,
)

from relocation.catalogue import load_catalogue
from relocation.transfer.database.schema import LOST_PASSWORDS, ModelTable


@dataclass(frozen=True)
class Referrer:
    """A column that refers to the rows of a model."""

    name: str
    """The model it belongs to, or the table where the catalogue has no model for it."""
    column: ColumnClause[Any]
    pk: ColumnClause[Any] | None
    """The primary key beside it, where it belongs to a model."""


def referring_rows(
    connection: Connection,
    target: ColumnClause[Any],
    pks: Collection[int],
    referring: Collection[Referrer],
) -> list[tuple[str, int | None]]:
    """Return name and primary key of the rows that refer to those of a table with these keys.

    A row of a table without a known primary key has None. One statement, whatever refers.
    """
    if not referring:
        return []
    wanted = select(target).where(target.in_(pks)).cte("wanted")
    parts = [
        select(
            literal(number).label("number"), (null() if one.pk is None else one.pk).label("pk")
        ).where(one.column.in_(select(wanted.c[target.name])))
        for number, one in enumerate(referring)
    ]
    names = [one.name for one in referring]
    found = connection.execute(union_all(*parts))
    return [(names[number], pk) for number, pk in found]


def referrers(
    connection: Connection,
    tables: Mapping[str, ModelTable],
    models: Collection[str],
    keyed: Collection[str] = (),
) -> dict[str, list[Referrer]]:
    """Return what refers to each of the models: by the catalogue, or by a constraint.

    `keyed` names tables beside the catalogue's whose rows have an id.

    The catalogue knows references that no constraint stands behind (S-5); the constraints know
    tables that the catalogue does not have. Tokens for lost passwords go with their user and do not
    count.
    """
    found: dict[str, list[Referrer]] = {model: [] for model in models}
    known: set[tuple[str, str]] = set()
    for one in tables.values():
        for key in one.model.foreign_keys.values():
            if key.field in one.fields and key.to in found:
                referring = one.column(key.field)
                known.add((one.table.name, referring.name))
                found[key.to].append(Referrer(one.model.name, referring, one.table.c.id))
    by_table = {load_catalogue()[model].table: model for model in models}
    names = {one.table.name: name for name, one in tables.items()}
    for place, field, target in constraints(connection):
        if target in by_table and place != LOST_PASSWORDS and (place, field) not in known:
            clause = table(place, column("id"), column(field))
            pk = clause.c.id if place in names or place in keyed else None
            referrer = Referrer(names.get(place, place), clause.c[field], pk)
            found[by_table[target]].append(referrer)
    return found


def constraints(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Yield table, column and target of each reference to the target's id."""
    for (_, place), keys in inspect(connection).get_multi_foreign_keys().items():
        for key in keys:
            if key["referred_columns"] in (["id"], []) and len(key["constrained_columns"]) == 1:
                yield place, key["constrained_columns"][0], key["referred_table"]

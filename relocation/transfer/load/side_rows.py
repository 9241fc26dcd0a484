"""Rows that the product makes of its own for what was imported, and that go with it.

An actor stands for a team or a user, a mapping for an organization or a membership: none of them
means anything without it, and nobody made it by hand.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnClause, Connection, column, delete, inspect, select, table

from relocation.transfer.database.referring import Referrer, constraints, referring_rows
from relocation.transfer.database.rows import slices
from relocation.transfer.load.mappings import (
    MEMBER_MAPPING,
    MEMBER_UPDATE,
    ORGANIZATION_MAPPING,
    ORGANIZATION_UPDATE,
    OUTBOX,
    withdraw_requests,
)

ACTOR: Final = "sentry_actor"
_CATEGORIES: Final = {
    "sentry.organization": ORGANIZATION_UPDATE,
    "sentry.organizationmember": MEMBER_UPDATE,
}


@dataclass(frozen=True)
class _Side:
    table: str
    column: str
    model: str
    """Whose row it stands for."""


_SIDES: Final = (
    _Side(ACTOR, "team_id", "sentry.team"),
    _Side(ACTOR, "user_id", "sentry.user"),
    _Side(ORGANIZATION_MAPPING, "organization_id", "sentry.organization"),
    _Side(MEMBER_MAPPING, "organization_id", "sentry.organization"),
    _Side(MEMBER_MAPPING, "organizationmember_id", "sentry.organizationmember"),
)

SIDE_TABLES: Final = frozenset(side.table for side in _SIDES)


class SideRows:
    """The side rows of what one relocation put into a destination.

    `names` has the model of each table that the catalogue knows; other tables go by their own name.
    """

    def __init__(
        self, connection: Connection, ours: Mapping[str, Collection[int]], names: Mapping[str, str]
    ) -> None:
        self._names = names
        present = {
            name: {one["name"] for one in inspect(connection).get_columns(name)}
            for name in SIDE_TABLES
            if inspect(connection).has_table(name)
        }
        self._sides = [side for side in _SIDES if side.column in present.get(side.table, ())]
        self._asks = inspect(connection).has_table(OUTBOX)
        self._pks = self._found(connection, ours)

    def __contains__(self, row: tuple[str, int | None]) -> bool:
        """Tell of a row, by model or table, and primary key, whether it goes with ours."""
        return row[1] is not None and row[1] in self._pks.get(row[0], ())

    def referring(self, connection: Connection) -> Iterator[tuple[str, int | None]]:
        """Yield the rows of others that refer to the actors that would go."""
        pks = self._pks.get(self._name(ACTOR))
        if not pks:
            return
        pointing = []
        for place, field, target in constraints(connection):
            if target == ACTOR:
                clause = table(place, column("id"), column(field))
                pointing.append(Referrer(self._name(place), clause.c[field], clause.c.id))
        for piece in slices(sorted(pks)):
            yield from referring_rows(connection, _pk(ACTOR), piece, pointing)

    def remove(self, connection: Connection, model: str, pks: Collection[int]) -> None:
        """Remove the side rows of some rows of a model, before these go themselves.

        What the product was asked to make goes first: its job may be about to.
        """
        if self._asks and model in _CATEGORIES:
            withdraw_requests(connection, _CATEGORIES[model], list(pks))
        for side in self._sides:
            if side.model == model:
                stands_for = column(side.column).in_(pks)
                connection.execute(delete(table(side.table)).where(stands_for))

    def _found(
        self, connection: Connection, ours: Mapping[str, Collection[int]]
    ) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for side in self._sides:
            for piece in slices(sorted(ours.get(side.model, ()))):
                query = select(_pk(side.table)).where(column(side.column).in_(piece))
                pks = found.setdefault(self._name(side.table), set())
                pks.update(connection.execute(query).scalars())
        return found

    def _name(self, of_table: str) -> str:
        return self._names.get(of_table, of_table)


def _pk(name: str) -> ColumnClause[Any]:
    return table(name, column("id")).c.id

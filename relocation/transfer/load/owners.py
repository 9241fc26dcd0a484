"""Who owns a rule: by an actor in older versions, by a team or a user in newer ones.

Either export goes into either destination: records are brought into the words of its tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, Table, select, update

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.transfer.database.rows import slices
from relocation.transfer.database.schema import ModelTable
from relocation.transfer.source import Portion, PortionedSource, Source

ACTOR: Final = "sentry.actor"
_TEAM: Final = "sentry.team"
_OWNED: Final[Mapping[str, tuple[str, str]]] = {
    "sentry.rule": ("owner_team", "owner_user_id"),
    "sentry.alertrule": ("team", "user_id"),
}
"""By model: the fields of the team and of the user that own a record."""
_TYPES: Final = {"team": 0, "user_id": 1}

Owner = tuple[str, int]
"""The field of an actor (`team` or `user_id`), and the primary key there."""


def with_owners(source: PortionedSource, tables: Mapping[str, ModelTable]) -> PortionedSource:
    """Return the source with its owners in the words of the destination's tables.

    Where these have actors, every team has one, as its versions need it.
    """
    known = {
        record.pk: owner
        for record in source.records(ACTOR)
        if (owner := _owner_of(record.fields)) is not None
    }
    if ACTOR not in tables:
        return _Owned(source, tables, known, {})
    made: dict[Owner, int] = {}
    taken = set(known.values())
    last = max((record.pk for record in source.records(ACTOR)), default=0)
    for owner in _in_need(source):
        if owner not in taken:
            taken.add(owner)
            made[owner] = last = last + 1
    return _Owned(source, tables, known, made)


def _owner_of(fields: Mapping[str, Any]) -> Owner | None:
    for field in _TYPES:
        if type(fields.get(field)) is int:
            return field, fields[field]
    return None


def _in_need(source: Source) -> Iterator[Owner]:
    """Yield who must have an actor: every team, and every owner."""
    for record in source.records(_TEAM):
        yield "team", record.pk
    for model, (team, user) in _OWNED.items():
        first = next(source.records(model), None)
        if first is None or first.fields.keys().isdisjoint((team, user)):
            continue
        for record in source.records(model):
            for field, name in (("team", team), ("user_id", user)):
                if type(record.fields.get(name)) is int:
                    yield field, record.fields[name]


@dataclass(frozen=True)
class _Owned:
    """A source whose owners are told as a destination tells them."""

    source: PortionedSource
    tables: Mapping[str, ModelTable]
    known: Mapping[int, Owner]
    """Whom the export's actors stand for."""
    made: Mapping[Owner, int]
    """The actors that had to be made, and their primary keys."""

    def models(self) -> Sequence[str]:
        """Return the names of the models that have records, in dependency order."""
        models = {*self.source.models(), *([ACTOR] if self.made else [])}
        return [name for name in load_catalogue() if name in models]

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model."""
        for portion in self.portions(model):
            yield from portion.records

    def portions(self, model: str) -> Iterator[Portion]:
        """Stream the records of one model in portions."""
        for records, weight in self.source.portions(model):
            yield Portion([self._told(record) for record in records], weight)
        if model == ACTOR:
            for (field, pk), actor in self.made.items():
                record = Record(ACTOR, actor, {"type": _TYPES[field], field: pk})
                yield Portion([record], len(repr(record.fields)))

    @cached_property
    def _actors(self) -> Mapping[Owner, int]:
        return {owner: pk for pk, owner in self.known.items()} | dict(self.made)

    def _told(self, record: Record) -> Record:
        """Return a record with its owner as the destination has it."""
        table = self.tables.get(record.model)
        if record.model not in _OWNED or table is None:
            return record
        fields, (team, user) = dict(record.fields), _OWNED[record.model]
        actor = fields.get("owner")
        owner = self.known.get(actor) if type(actor) is int else None
        if owner is not None:
            field, pk = owner
            fields[team] = pk if field == "team" else None
            fields[user] = pk if field == "user_id" else None
        else:
            owner = _owner_of({"team": fields.get(team), "user_id": fields.get(user)})
            if owner is not None and owner in self._actors:
                fields["owner"] = self._actors[owner]
        for name in ("owner", team, user):
            if name not in table.fields and (owner is not None or fields.get(name) is None):
                fields.pop(name, None)
        return record._replace(fields=fields)


def point_teams(connection: Connection, teams: Table, actors: Table, pks: Sequence[int]) -> None:
    """Tell teams which actors stand for them, where the destination's teams know that."""
    if "actor_id" not in teams.c:
        return
    found = select(actors.c.id).where(actors.c.team_id == teams.c.id).scalar_subquery()
    for piece in slices(pks):
        mine = teams.c.id.in_(select(actors.c.team_id).where(actors.c.id.in_(piece)))
        connection.execute(update(teams).where(mine).values(actor_id=found))


def forget_actors(connection: Connection, teams: Table, actors: Table, pks: Sequence[int]) -> None:
    """Let teams forget the actors that stand for them and are about to be removed."""
    if "actor_id" in teams.c:
        own = select(actors.c.team_id).where(actors.c.id.in_(pks))
        mine = teams.c.actor_id.in_(pks) & teams.c.id.in_(own)
        connection.execute(update(teams).where(mine).values(actor_id=None))

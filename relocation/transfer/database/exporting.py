"""Read records out of a live database, as an export has them (spec 4)."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Engine,
    Select,
    and_,
    false,
    func,
    or_,
    select,
    union,
)
from sqlalchemy.sql.selectable import CTE

from relocation.archive.records import Record
from relocation.catalogue import ForeignKey, Model, Scope, load_catalogue
from relocation.errors import ConfigurationError
from relocation.transfer.database.codec import decoder, unchanged
from relocation.transfer.database.rows import slices
from relocation.transfer.database.schema import ModelTable, reflect

_USER: Final = "sentry.user"
_ORGANIZATION: Final = "sentry.organization"
_ROWS: Final = 1000
"""Rows fetched at a time."""

_UNEXPORTED_KEYS: Final = ("sentry:last_worker_ping", "sentry:last_worker_version")
"""Options that tell of one installation's running processes (I-61)."""


class LiveSource:
    """The records of a live database, as a `Source`: each model is read in its own transaction.

    `together` bounds how many rows of a model are in memory at once, where they are known to be
    large.
    """

    def __init__(
        self,
        engine: Engine,
        tables: Mapping[str, ModelTable],
        together: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._together = together

    def models(self) -> Sequence[str]:
        """Return the names of the models that have a table, in dependency order."""
        return [name for name in load_catalogue() if name in self._tables]

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model by primary key."""
        table = self._tables.get(model)
        if table is not None:
            with _snapshot(self._engine) as connection:
                rows = min(_ROWS, self._together.get(model, _ROWS))
                yield from _stream(connection, table, _columns(table), rows)


class PickedSource:
    """The records of a live database that have given primary keys, as a `Source`.

    Only these rows are read, however many others a table has; `together` is that of `LiveSource`.
    """

    def __init__(
        self,
        engine: Engine,
        tables: Mapping[str, ModelTable],
        pks: Callable[[str], Collection[int]],
        together: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._pks = pks
        self._together = together

    def models(self) -> Sequence[str]:
        """Return the names of the models that have a table, in dependency order."""
        return [name for name in load_catalogue() if name in self._tables]

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model by primary key."""
        table = self._tables.get(model)
        if table is None:
            return
        wanted = self._pks(model)
        pk = table.table.c.id
        at_once = min(_ROWS, self._together.get(model, _ROWS))
        with _snapshot(self._engine) as connection:
            for piece in slices(sorted(wanted)):
                low, high = piece[0], piece[-1]
                dense = high - low < 2 * len(piece)  # as an import leaves them: quicker by range
                among = pk.between(low, high) if dense else pk.in_(piece)
                known = frozenset(piece)
                query = _columns(table).where(among)
                for record in _stream(connection, table, query, at_once):
                    if record.pk in known:
                        yield record


def exported_pks(
    engine: Engine, tables: Mapping[str, ModelTable], organizations: Collection[str]
) -> Iterator[tuple[str, list[int]]]:
    """Yield, by model, the primary keys of what an export of these organizations would take out."""
    selection = _Selection(tables, limited=True)
    selection.filter(organizations, None, privileged_only=False)
    with _snapshot(engine) as connection:
        for name in load_catalogue():
            if name in tables:
                yield name, list(connection.execute(selection.pks(name)).scalars())


def export_records(
    engine: Engine,
    *,
    scope: Scope,
    organizations: Collection[str] | None = None,
    usernames: Collection[str] | None = None,
    privileged_only: bool = False,
) -> Iterator[Record]:
    """Stream what a run under `scope` takes out, by model in dependency order and by primary key.

    No filter is everything, an empty filter nothing (I-42). `organizations` are slugs, and select
    their members as users (E-2); `privileged_only` selects the accounts of E-6. The records are
    those of one moment; on SQLite no writer can commit before the iterator is exhausted or closed.
    """
    tables = reflect(engine, load_catalogue().admitted(scope))
    if organizations is not None and not {_USER, _ORGANIZATION} <= tables.keys():
        raise ConfigurationError(
            "The database to export from is not a Sentry database. An operator has to name "
            "another one."
        )
    selection = _Selection(tables, limited=scope is not Scope.GLOBAL)
    selection.filter(organizations, usernames, privileged_only=privileged_only)
    with _snapshot(engine) as connection:
        for name in load_catalogue():
            if name in tables:
                yield from _stream(connection, tables[name], selection.query(name))


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    engine = engine.execution_options(reads=True)
    with engine.connect() as connection:
        yield connection


def _columns(table: ModelTable) -> Select[Any]:
    columns = [table.column(field) for field in table.fields]
    return select(table.table.c.id, *columns).order_by(table.table.c.id)


def _stream(
    connection: Connection, table: ModelTable, query: Select[Any], at_once: int = _ROWS
) -> Iterator[Record]:
    name, names = table.model.name, tuple(table.fields)
    decoders = {field: decoder(table.model.fields[field], table.column(field)) for field in names}
    decoded = [(field, decode) for field, decode in decoders.items() if decode is not unchanged]
    with connection.execute(query.execution_options(yield_per=at_once)) as rows:
        for pk, *values in rows:
            fields = dict(zip(names, values, strict=True))
            for field, decode in decoded:
                fields[field] = decode(fields[field])
            yield Record(name, pk, fields)


class _Selection:
    """Which rows of each table go out, as common table expressions that build on each other.

    The row scopes of S-4 need no rule of their own: a row of another scope names a record of a
    model that the run's scope does not admit.
    """

    def __init__(self, tables: Mapping[str, ModelTable], *, limited: bool) -> None:
        self._tables = tables
        self._limited = limited
        self._filters: dict[str, list[ColumnElement[bool]]] = {}
        self._chosen: dict[str, CTE] = {}
        self._tenants = False
        """Whether some organizations are chosen, and not all."""

    def filter(
        self,
        organizations: Collection[str] | None,
        usernames: Collection[str] | None,
        *,
        privileged_only: bool,
    ) -> None:
        """Choose organizations and users; what belongs to them follows by reference."""
        self._tenants = organizations is not None
        if organizations is not None:
            slug = self._tables[_ORGANIZATION].column("slug")
            self._filters[_ORGANIZATION] = [slug.in_(organizations)]
        if _USER not in self._tables:
            return
        user = self._tables[_USER]
        chosen = self._filters.setdefault(_USER, [])
        if organizations is not None:
            chosen.append(user.table.c.id.in_(self._members()))
        if usernames is not None:
            chosen.append(user.column("username").in_(usernames))
        if privileged_only:
            chosen.append(self._is_privileged(user))

    def query(self, model: str) -> Select[Any]:
        """Return the query for the rows of a model that go out."""
        table = self._tables[model]
        return _columns(table).where(table.table.c.id.in_(select(self._rows(model))))

    def pks(self, model: str) -> Select[Any]:
        """Return the query for the primary keys of these rows."""
        rows = self._rows(model)
        return select(rows.c.id).order_by(rows.c.id)

    def _rows(self, model: str) -> CTE:
        """Return the primary keys of the rows of a model that go out."""
        if model not in self._chosen:
            table = self._tables[model]
            conditions = [*self._filters.get(model, ()), *self._limits(table)]
            pks = select(table.table.c.id).where(and_(True, *conditions))
            self._chosen[model] = pks.cte(f"chosen_{table.model.position}")
        return self._chosen[model]

    def _limits(self, table: ModelTable) -> Iterator[ColumnElement[bool]]:
        """Yield what the rows of a model must satisfy besides the filter."""
        if {"key", "value"} <= set(table.fields) and not table.model.foreign_keys:
            yield table.column("key").not_in(_UNEXPORTED_KEYS)
        if self._limited:
            if table.model.name == "sentry.email":
                yield func.lower(table.column("email")).in_(self._addresses())
            if table.model.name == "sentry.snubaquery":
                yield table.table.c.id.in_(self._queries_in_use())
        for key in table.model.foreign_keys.values():
            if self._is_limit(table.model, key):
                yield self._refers_to_exported(table, key)

    def _is_limit(self, model: Model, key: ForeignKey) -> bool:
        """Tell whether a reference to something unexported keeps a row in (E-4).

        It does not where it may be null, names a user, and something else ties the row to what is
        exported: a dashboard does not vanish with the person who made it (W-18).
        """
        if not self._limited:
            return key.to not in load_catalogue()
        if key.to != _USER or not key.nullable:
            return True
        return not any(
            other.to != _USER and not other.nullable for other in model.foreign_keys.values()
        )

    def _refers_to_exported(self, table: ModelTable, key: ForeignKey) -> ColumnElement[bool]:
        if key.field not in table.fields:
            return and_(True) if key.nullable else false()
        column = table.column(key.field)
        if self._tenants and key.to == _ORGANIZATION and Scope.USER not in table.model.scopes:
            # A row of no organization may be anybody's.
            return column.in_(select(self._rows(key.to)))
        exported = column.in_(select(self._rows(key.to))) if key.to in self._tables else false()
        return or_(column.is_(None), exported) if key.nullable else exported

    def _members(self) -> Select[Any]:
        """Return the users who are members of the exported organizations (E-2)."""
        member = self._tables["sentry.organizationmember"]
        return select(member.column("user_id")).where(
            member.column("organization").in_(select(self._rows(_ORGANIZATION))),
            member.column("user_id").is_not(None),
        )

    def _is_privileged(self, user: ModelTable) -> ColumnElement[bool]:
        holders = [
            select(self._tables[name].column("user"))
            for name in ("sentry.userpermission", "sentry.userroleuser")
            if name in self._tables
        ]
        return or_(
            user.column("is_staff"),
            user.column("is_superuser"),
            *(user.table.c.id.in_(holder) for holder in holders),
        )

    def _addresses(self) -> CompoundSelect[Any]:
        """Return the addresses of the exported users, in lower case (E-5)."""
        users = select(self._rows(_USER))
        user, address = self._tables[_USER], self._tables["sentry.useremail"]
        return union(
            select(func.lower(user.column("email"))).where(user.table.c.id.in_(users)),
            select(func.lower(address.column("email"))).where(address.column("user").in_(users)),
        )

    def _queries_in_use(self) -> CompoundSelect[Any]:
        """Return the snuba queries of exported alert rules and subscriptions (E-5)."""
        owners = (("sentry.alertrule", "organization"), ("sentry.querysubscription", "project"))
        return union(
            *(
                select(table.column("snuba_query")).where(
                    self._refers_to_exported(table, table.model.foreign_keys[owner])
                )
                for table, owner in ((self._tables[name], owner) for name, owner in owners)
            )
        )

"""Take an import back: remove what a relocation put into the destination, and nothing else (B-7).

Chunk by chunk, last model first, each in a transaction with the removal of its record: a roll back
that was killed goes on where it stopped, and an import that follows begins with what is gone.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    delete,
    func,
    not_,
    or_,
    select,
)

from relocation.catalogue import load_catalogue
from relocation.errors import CommandError, ConfigurationError, RevealedError
from relocation.model import RollBackReport
from relocation.text import listed
from relocation.transfer.database.referring import Referrer, referrers, referring_rows
from relocation.transfer.database.rows import select_in, slices
from relocation.transfer.database.schema import ModelTable, lost_passwords, reflect
from relocation.transfer.load.chunks import (
    GRANTED,
    check_bound,
    delete_chunk,
    fenced,
    inserted_pks,
    read_chunk,
    written_chunks,
)
from relocation.transfer.load.owners import ACTOR, forget_actors
from relocation.transfer.load.rules import PENDING_APPROVAL
from relocation.transfer.load.side_rows import SIDE_TABLES, SideRows

_ORGANIZATION = "sentry.organization"
_MEMBER = "sentry.organizationmember"
_USER = "sentry.user"
_EMAIL = "sentry.email"
_ADDRESSES = (_USER, "sentry.useremail")

Ours = Mapping[str, frozenset[int]]
"""By model: the rows that this relocation put into the destination."""


def roll_back(
    engine: Engine,
    relocation_id: str,
    fence: int,
    *,
    revealed: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> RollBackReport:
    """Remove the rows that this relocation inserted, its owners' memberships and its users' claims.

    So go the rows that the product made for these by itself. What it merged with or overwrote
    stays as it is. Idempotent, and goes on after a kill. Before the first removal it raises
    PermanentError where rows of others refer to what would go, and RevealedError where
    organizations have been revealed, unless `revealed` allows that; then it calls `begin`, once.
    Raises what `fenced` does.
    """
    check_bound(engine, relocation_id, fence)
    chunks = written_chunks(engine, relocation_id)
    models = {_table_model(model) for model, _ in chunks} & load_catalogue().keys()
    tables = reflect(engine, load_catalogue().values())
    with engine.connect() as connection:
        ours = _ours(connection, relocation_id, {model for model, _ in chunks})
        names = {one.table.name: name for name, one in tables.items()}
        sides = SideRows(connection, ours, names)
        pointing = referrers(connection, tables, models, SIDE_TABLES)
        _check_tables(tables, ours)
        if not revealed:
            _check_hidden(connection, tables, ours)
        _check_referrers(connection, tables, pointing, ours, sides)
    begin()
    removal = _Removal(tables, pointing, sides)
    removed, kept = dict[str, int](), dict[str, int]()
    for model, number in sorted(chunks, key=_last_first, reverse=True):
        with fenced(engine, relocation_id, fence) as connection:
            chunk = read_chunk(connection, relocation_id, model, number)
            if chunk is None:
                continue
            pks = frozenset(chunk.inserted.values())
            gone = removal.remove(connection, _table_model(model), pks) if pks else 0
            delete_chunk(connection, relocation_id, model, number)
        if pks:
            name = _table_model(model)
            removed[name] = removed.get(name, 0) + gone
            if name == _EMAIL and gone < len(pks):
                kept[name] = kept.get(name, 0) + len(pks) - gone
    return RollBackReport(removed, kept)


@dataclass(frozen=True)
class _Removal:
    tables: Mapping[str, ModelTable]
    pointing: Mapping[str, list[Referrer]]
    sides: SideRows

    def remove(self, connection: Connection, model: str, pks: frozenset[int]) -> int:
        """Remove rows of one model, and return how many there were.

        All rows of ours that refer to them are gone by now, so that any other is somebody else's.
        """
        table = self.tables[model].table
        tokens = lost_passwords(connection) if model == _USER else None
        removed = 0
        for piece in slices(sorted(pks)):
            self.sides.remove(connection, model, piece)
            if model == ACTOR and "sentry.team" in self.tables:
                forget_actors(connection, self.tables["sentry.team"].table, table, piece)
            referring = self.pointing.get(model, ())
            if found := referring_rows(connection, table.c.id, piece, referring):
                raise _refusal(found)
            if tokens is not None:
                connection.execute(delete(tokens).where(tokens.c.user_id.in_(piece)))
            condition: ColumnElement[bool] = table.c.id.in_(piece)
            if model == _EMAIL:
                condition = and_(condition, not_(self._in_use()))
            removed += connection.execute(delete(table).where(condition)).rowcount
        return removed

    def _in_use(self) -> ColumnElement[bool]:
        """Tell of an address row whether an account has its address; ours are gone by now."""
        address = func.lower(self.tables[_EMAIL].column("email"))
        return or_(*(address.in_(query) for query in self._addresses()))

    def _addresses(self) -> Iterator[Select[tuple[str]]]:
        for name in _ADDRESSES:
            if name in self.tables:
                column = self.tables[name].column("email")
                yield select(func.lower(column)).where(column.is_not(None))


def _table_model(model: str) -> str:
    """Return the model in whose table a chunk's rows are."""
    return _MEMBER if model == GRANTED else model


def _last_first(chunk: tuple[str, int]) -> tuple[int, int]:
    """Sort memberships that were granted last, then by dependency; addresses come first of all.

    Nothing refers to an address row, but accounts use it: it goes when they are gone.
    """
    model, number = chunk
    catalogue = load_catalogue()
    if model == GRANTED:
        return len(catalogue), number
    if model == _EMAIL or model not in catalogue:
        return -1, number
    return catalogue[model].position, number


def _ours(connection: Connection, relocation_id: str, models: Collection[str]) -> Ours:
    found: dict[str, frozenset[int]] = {}
    for model in models:
        pks = frozenset(inserted_pks(connection, relocation_id, model).values())
        name = _table_model(model)
        found[name] = found.get(name, frozenset()) | pks
    return {model: pks for model, pks in found.items() if pks}


def _check_tables(tables: Mapping[str, ModelTable], ours: Ours) -> None:
    missing = sorted(ours.keys() - tables.keys())
    if missing:
        raise ConfigurationError(
            f"The destination no longer has a table for {listed(missing)}. Its operator has to "
            "restore its schema."
        )


def _check_hidden(connection: Connection, tables: Mapping[str, ModelTable], ours: Ours) -> None:
    if _ORGANIZATION not in ours:
        return
    organizations = tables[_ORGANIZATION]
    pk, slug = organizations.table.c.id, organizations.column("slug")
    visible = select(slug).where(organizations.column("status") != PENDING_APPROVAL)
    found = [name for (name,) in select_in(connection, visible, pk.in_, ours[_ORGANIZATION])]
    if found:
        raise RevealedError(
            f"These organizations are already visible: {listed(sorted(found), show=5)}. People "
            "may be working in them, but an operator can still have them removed."
        )


def _check_referrers(
    connection: Connection,
    tables: Mapping[str, ModelTable],
    pointing: Mapping[str, list[Referrer]],
    ours: Ours,
    sides: SideRows,
) -> None:
    """Refuse where rows that are not ours, nor go with ours, refer to rows that do."""
    others: list[tuple[str, int | None]] = []
    for model, pks in ours.items():
        pk, referring = tables[model].table.c.id, pointing[model]
        for piece in slices(sorted(pks)):
            found = referring_rows(connection, pk, piece, referring)
            others += [row for row in found if row[1] not in ours.get(row[0], ())]
    pointing_at_sides = sides.referring(connection)
    others += [row for row in pointing_at_sides if row[1] not in ours.get(row[0], ())]
    others = [row for row in others if row not in sides]
    if others:
        raise _refusal(others)


def _refusal(others: Iterable[tuple[str, int | None]]) -> CommandError:
    counts = Counter(name for name, pk in others if pk is None)
    counts.update(name for name, pk in set(others) if pk is not None)
    rows = [f"{count} of {name}" for name, count in sorted(counts.items())]
    return CommandError(
        f"Other records refer to what would be removed: {listed(rows, show=5)}. Move or delete "
        "those first, then roll back again."
    )

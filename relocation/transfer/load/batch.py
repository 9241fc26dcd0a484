"""The records of one chunk on their way into the destination."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any

from sqlalchemy import Connection, select

from relocation.catalogue import Scope
from relocation.errors import ExportError
from relocation.findings import Finding, FindingKind
from relocation.plan import Plan
from relocation.transfer.database.codec import decoder
from relocation.transfer.database.rows import one_of, select_in
from relocation.transfer.database.schema import ModelTable, UniqueSet
from relocation.transfer.load.write_behind import WriteBehind

_MARK = 48
"""Bytes of the marks of long values; they cannot be taken for those of short ones."""


@dataclass(slots=True)
class PendingRow:
    """A row to be written."""

    pk: int
    """Its primary key in the export."""
    values: dict[str, Any]
    """Its fields, as an export writes them; references are the destination's already."""


@dataclass(frozen=True)
class Options:
    """How an import treats what it brings and what is there."""

    scope: Scope = Scope.ORGANIZATION
    hide: bool = True
    """Whether organizations stay unseen until they are revealed."""
    merge_users: bool = False
    """Whether a user who is there already, by the exact username, is used as he is (I-53)."""
    overwrite_configs: bool = False
    """Whether settings that are there already take the export's values (I-60)."""
    plan: Plan = field(default_factory=Plan)
    """Who becomes an account that is there, and which organization gets which slug."""


@dataclass
class Batch:
    """The drafts of one chunk, and what is to be told of them."""

    transaction: WriteBehind
    table: ModelTable
    now: str
    """The moment of the import, as an export writes it."""
    options: Options
    random: Random
    merged_users: frozenset[int] = frozenset()
    """The users of the destination that earlier chunks were merged into."""
    rows: list[PendingRow] = field(default_factory=list)
    skipped: int = 0
    dropped: int = 0
    merged: dict[int, int] = field(default_factory=dict)
    duplicates_of: dict[int, int] = field(default_factory=dict)
    """Records that become one with another record of this batch, by the export's primary keys."""
    overwritten: list[tuple[PendingRow, int]] = field(default_factory=list)
    """Drafts that replace the values of a row that is there, and its primary key."""
    slugs: dict[int, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def flushed(self) -> Connection:
        """Return the destination's connection, once all earlier rows are in it."""
        return self.transaction.flushed()

    def report(self, kind: FindingKind, pk: int, reason: str, field: str | None = None) -> None:
        """Report something about one record."""
        self.findings.append(Finding(kind, self.table.model.name, reason, field, pk))

    def skip(self, pk: int, kind: FindingKind, reason: str) -> None:
        """Count a record as left out on purpose, and report why; its draft must be gone."""
        self.skipped += 1
        self.report(kind, pk, reason)

    def drop(self, pk: int, reason: str, field: str) -> None:
        """Count a record as lost with its parent, and report why."""
        self.dropped += 1
        self.report(FindingKind.LOST_REFERENCE, pk, reason, field)

    def put(self, draft: PendingRow, field: str, value: Any) -> None:
        """Set a field of a draft, if the destination has a column for it."""
        if field in self.table.fields:
            draft.values[field] = value

    def taken(
        self,
        field: str,
        values: Collection[str],
        among: Callable[[Any], Callable[[list[str]], Any]] | None = None,
    ) -> list[str]:
        """Return the values that rows of the destination have in a field: one query."""
        column = self.table.column(field)
        condition = among(column) if among else one_of(column)
        return [value for (value,) in select_in(self.flushed(), select(column), condition, values)]

    def skip_duplicates(self, unique: UniqueSet, seen: set[bytes]) -> None:
        """Skip the drafts that share a unique set with an earlier record of the export.

        `seen` has the marks of the earlier chunks, and takes those of this one.
        """
        marks_here = _marks([draft.values for draft in self.rows], unique)
        known = {mark for mark in marks_here if mark is not None}
        if len(known) == len(marks_here) and seen.isdisjoint(known):
            seen |= known
            return
        kept = []
        for draft, mark in zip(self.rows, marks_here, strict=True):
            if mark in seen:
                names = ", ".join(unique.fields)
                reason = f"An earlier record has the same {names}, which must be unique."
                self.skip(draft.pk, FindingKind.DUPLICATE, reason)
                continue
            kept.append(draft)
            if mark is not None:
                seen.add(mark)
        self.rows = kept


def storable(values: Iterable[Any]) -> set[str]:
    """Return those of the values that are texts which a database can hold, and be asked for."""
    return {value for value in values if _is_text(value)}


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def marks(
    connection: Connection, table: ModelTable, unique: UniqueSet, low: int, high: int
) -> set[bytes]:
    """Return the marks of the rows that have primary keys from `low` to `high`."""
    names = [*unique.fields, *(name for name, _ in unique.where)]
    columns = [table.column(name) for name in names]
    decoders = [
        decoder(table.model.fields[name], column)
        for name, column in zip(names, columns, strict=True)
    ]
    rows = connection.execute(select(*columns).where(table.table.c.id.between(low, high)))
    exported = [
        {name: decode(value) for name, decode, value in zip(names, decoders, row, strict=True)}
        for row in rows
    ]
    return {mark for mark in _marks(exported, unique) if mark is not None}


def _marks(rows: Collection[Mapping[str, Any]], unique: UniqueSet) -> list[bytes | None]:
    """Return a short stand-in for the unique fields of each row, None where it collides with none.

    Column by column, which is much quicker than row by row.
    """
    columns = [[row.get(field) for row in rows] for field in unique.fields]
    texts = map(str.encode, map(repr, zip(*columns, strict=True)))
    found: list[bytes | None] = [
        text if len(text) < _MARK else blake2b(text, digest_size=_MARK).digest() for text in texts
    ]
    if unique.where or any(None in column for column in columns):
        for place, (row, *key) in enumerate(zip(rows, *columns, strict=True)):
            if None in key or any(row.get(field) != value for field, value in unique.where):
                found[place] = None
    return found


def unfit(model: str, pk: int, field: str, message: str) -> ExportError:
    """Return the error that a record holds what its column cannot take, without the value."""
    return ExportError(f"{model} {pk} cannot be imported: its {field} {message}.")


def checkable(table: ModelTable, uniques: Iterable[UniqueSet]) -> list[UniqueSet]:
    """Return the unique sets that name a reference and whose fields all have a column.

    What the reference points at came with this import, so that no rows but its own can collide;
    the other sets are the rules' business.
    """
    known = set(table.fields)
    return [
        unique
        for unique in uniques
        if known.issuperset(unique.fields)
        and known.issuperset(name for name, _ in unique.where)
        and any(name in table.model.foreign_keys for name in unique.fields)
    ]

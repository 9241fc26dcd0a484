"""Write one chunk of records into the destination, and account for each of them (B-4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from random import SystemRandom
from typing import Any, Final

from sqlalchemy import update

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.findings import Finding, FindingKind
from relocation.model import RecordCounts
from relocation.transfer.database.codec import UnfitValueError, format_datetime
from relocation.transfer.database.rows import advance_sequence, allocate_pks, insert_columns
from relocation.transfer.database.schema import (
    ModelTable,
    UniqueSet,
    missing_columns,
    requires_value,
    unique_sets,
)
from relocation.transfer.load.batch import Batch, Options, PendingRow, checkable, marks, unfit
from relocation.transfer.load.chunks import Chunk
from relocation.transfer.load.columns import ColumnEncoder, group_by_fields, without_nulls
from relocation.transfer.load.owners import ACTOR, point_teams
from relocation.transfer.load.references import (
    PkMaps,
    Reference,
    references,
    resolve_all,
    resolve_inside,
)
from relocation.transfer.load.rules import EXTRA_UNIQUES, KEEP_PKS, RULES, SCOPED_BY_ROW, row_scope
from relocation.transfer.load.write_behind import WriteBehind

UNTAKEN: Final = "The catalogue does not know the field, and no column of its name takes it."


@dataclass(frozen=True)
class _Plan:
    """What the import of one model needs to know."""

    table: ModelTable
    references: list[Reference]
    uniques: list[UniqueSet]
    encoders: Mapping[str, tuple[str, ColumnEncoder]]
    """By field: its column, and how its values are encoded."""
    required: Mapping[str, str]
    """By column without which no row can be inserted: its field."""
    defaulted: frozenset[str]
    """Columns whose default stands in for a null."""
    known: frozenset[str]
    """The fields that the catalogue knows."""


class Writer:
    """Turns records into rows of a destination; one for an import.

    `tables` are the destination's for the models that the scope of the options admits.
    """

    def __init__(self, tables: Mapping[str, ModelTable], options: Options) -> None:
        self._plans = {name: _plan(table) for name, table in tables.items()}
        self._options = options
        self._merged_users = frozenset[int]()
        self._random = SystemRandom()
        self._model = ""
        self._passed: list[int] = []
        self._seen: dict[UniqueSet, set[bytes]] = {}

    def note_written_chunk(self, model: str, chunk: Chunk) -> None:
        """Take note of a chunk that an earlier process wrote."""
        self._turn_to(model)
        self._note_merged(model, chunk)
        self._passed = [*self._passed, *chunk.inserted.values()]
        self._passed = [min(self._passed), max(self._passed)] if self._passed else []

    def write(
        self, transaction: WriteBehind, model: str, records: Sequence[Record], maps: PkMaps
    ) -> Chunk:
        """Write a chunk of one model; `maps` says where the records it refers to are now.

        The rows themselves are left to be written behind.

        The chunks of a model are written in order, and model by model. Raises PermanentError for a
        value that a column cannot take.
        """
        plan = self._plans.get(model)
        if plan is None:
            return _leave_out(model, records)
        self._turn_to(model)
        batch = Batch(
            transaction,
            plan.table,
            format_datetime(datetime.now(UTC)),
            self._options,
            self._random,
            self._merged_users,
        )
        self._draft(batch, plan, records, maps)
        for rule in RULES.get(model, ()):
            rule(batch)
        for unique in plan.uniques:
            batch.skip_duplicates(unique, self._seen_before(batch, unique))
        inserted = _insert(batch, plan)
        if model == ACTOR and "sentry.team" in self._plans:
            teams, actors = (self._plans[name].table.table for name in ("sentry.team", ACTOR))
            pks = list(inserted.values())
            transaction.write_later(partial(point_teams, teams=teams, actors=actors, pks=pks))
        overwritten = _overwrite(batch, plan)
        merged = batch.merged | {pk: inserted[other] for pk, other in batch.duplicates_of.items()}
        account = RecordCounts(
            read=len(records),
            inserted=len(inserted),
            merged=len(merged),
            overwritten=len(overwritten),
            skipped=batch.skipped,
            dropped=batch.dropped,
        )
        chunk = Chunk(
            account,
            records[0].pk,
            records[-1].pk,
            inserted,
            merged,
            overwritten,
            batch.slugs,
            tuple(batch.findings),
        )
        self._note_merged(model, chunk)
        return chunk

    def _note_merged(self, model: str, chunk: Chunk) -> None:
        if model == "sentry.user":
            self._merged_users |= set(chunk.merged.values())

    def _turn_to(self, model: str) -> None:
        if model != self._model:
            self._model, self._passed, self._seen = model, [], {}

    def _seen_before(self, batch: Batch, unique: UniqueSet) -> set[bytes]:
        """Return the marks of the model's earlier rows, which an earlier process may have left."""
        if unique not in self._seen:
            passed = self._passed
            self._seen[unique] = (
                marks(batch.flushed(), batch.table, unique, *passed) if passed else set()
            )
        return self._seen[unique]

    def _draft(self, batch: Batch, plan: _Plan, records: Sequence[Record], maps: PkMaps) -> None:
        """Resolve the references of the records that the scope admits."""
        model, scope = plan.table.model, self._options.scope
        used = set[str]().union(*(record.fields for record in records))
        drafts = [PendingRow(pk, fields) for _, pk, fields in records]
        if model.name in SCOPED_BY_ROW:
            reason = f"This record is not part of an import of scope {scope}."
            found, drafts = drafts, []
            for draft in found:
                if row_scope(model, draft.values) in scope.admits:
                    drafts.append(draft)
                else:
                    batch.skip(draft.pk, FindingKind.OUT_OF_SCOPE, reason)
        for field in used - plan.known:
            _drop_unfit(batch, drafts, field, plan)
        for field in used - plan.encoders.keys():
            for draft in drafts:
                draft.values.pop(field, None)
        batch.rows = resolve_all(batch, drafts, plan.references, maps)
        resolve_inside(batch, maps)
        batch.findings += missing_columns(plan.table, used)


def _plan(table: ModelTable) -> _Plan:
    model = table.model
    columns = {field: table.column(field) for field in table.fields}
    return _Plan(
        table=table,
        references=references(table),
        uniques=checkable(table, [*unique_sets(model), *EXTRA_UNIQUES.get(model.name, ())]),
        encoders={
            field: (column.name, ColumnEncoder(model.fields[field], column))
            for field, column in columns.items()
        },
        required={
            column.name: field for field, column in columns.items() if requires_value(column)
        },
        defaulted=frozenset(
            column.name
            for column in columns.values()
            if not column.nullable and not requires_value(column)
        ),
        known=frozenset(load_catalogue()[model.name].fields),
    )


def _drop_unfit(batch: Batch, drafts: Sequence[PendingRow], field: str, plan: _Plan) -> None:
    """Drop an unknown field where no column of its name takes it, and tell in how many records."""
    lost = 0
    for draft in drafts:
        if field not in draft.values:
            continue
        try:
            if field in plan.encoders:
                plan.encoders[field][1].one(draft.values[field])
                continue
        except UnfitValueError:
            pass
        del draft.values[field]
        lost += 1
    if lost:
        told = Finding(
            FindingKind.UNKNOWN_FIELD, plan.table.model.name, UNTAKEN, field=field, records=lost
        )
        batch.findings.append(told)


def _insert(batch: Batch, plan: _Plan) -> dict[int, int]:
    """Insert the drafts that are left; return where they are now, by the export's keys."""
    table = plan.table.table
    groups = group_by_fields(batch.rows)
    encoded = [_encode(drafts, plan) for drafts in groups]
    keeps_pks = batch.options.scope is Scope.GLOBAL and plan.table.model.name in KEEP_PKS
    if keeps_pks:
        pks = [draft.pk for draft in batch.rows]
    else:
        pks = allocate_pks(batch.flushed(), table, len(batch.rows))
    placed = {draft.pk: pk for draft, pk in zip(batch.rows, pks, strict=True)}
    for drafts, columns in zip(groups, encoded, strict=True):
        columns["id"] = [placed[draft.pk] for draft in drafts]
        for part in without_nulls(columns, plan.defaulted):
            batch.transaction.write_later(partial(insert_columns, table=table, columns=part))
    if keeps_pks:
        batch.transaction.write_later(partial(advance_sequence, table=table))
    return placed


def _overwrite(batch: Batch, plan: _Plan) -> dict[int, int]:
    """Give rows that are there the values of drafts; return where these are now."""
    table = plan.table.table
    for draft, pk in batch.overwritten:
        for columns in without_nulls(_encode([draft], plan), plan.defaulted):
            row = {name: value for name, (value,) in columns.items()}
            batch.flushed().execute(update(table).where(table.c.id == pk).values(row))
    return {draft.pk: pk for draft, pk in batch.overwritten}


def _encode(drafts: list[PendingRow], plan: _Plan) -> dict[str, Sequence[Any]]:
    """Return the columns of drafts that have the same fields; column by column is much quicker."""
    columns: dict[str, Sequence[Any]] = {}
    rows = [draft.values for draft in drafts]
    for field, (column, encode) in plan.encoders.items():
        if field in drafts[0].values:
            try:
                columns[column] = encode.all(list(map(itemgetter(field), rows)))
            except UnfitValueError:
                raise _first_unfit(drafts, plan) from None
    for column, field in plan.required.items():
        values = columns.get(column, [None])
        if None in values:
            pk = drafts[values.index(None)].pk
            message = "is empty, and the destination requires a value"
            raise unfit(plan.table.model.name, pk, field, message)
    return columns


def _first_unfit(drafts: list[PendingRow], plan: _Plan) -> Exception:
    """Return the error for the first draft that holds what a column cannot take."""
    for draft in drafts:
        for field, value in draft.values.items():
            try:
                plan.encoders[field][1].one(value)
            except UnfitValueError as err:
                return unfit(plan.table.model.name, draft.pk, field, str(err))
    raise AssertionError("some value does not fit")


def _leave_out(model: str, records: Sequence[Record]) -> Chunk:
    """Account for records of a model that is not imported at all."""
    if model == ACTOR:
        kind, reason = FindingKind.OUT_OF_SCOPE, "The destination names owners without actors."
    elif model in load_catalogue() and load_catalogue()[model].until is not None:
        kind, reason = FindingKind.OUT_OF_SCOPE, "The destination's version has no such records."
    elif model in load_catalogue():
        kind, reason = FindingKind.OUT_OF_SCOPE, "This model is not part of the import."
    else:
        kind, reason = FindingKind.UNKNOWN_MODEL, "This model is not known."
    return Chunk(
        RecordCounts(read=len(records), skipped=len(records)),
        records[0].pk,
        records[-1].pk,
        {},
        findings=tuple(Finding(kind, model, reason, pk=record.pk) for record in records),
    )

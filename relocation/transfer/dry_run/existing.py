"""Put rows into a scratch database that stand for what the destination has already."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.transfer.database.codec import encoder
from relocation.transfer.database.neutral import neutral_value
from relocation.transfer.database.rows import insert_rows, slices
from relocation.transfer.database.schema import ModelTable, requires_value
from relocation.transfer.source import Source

Loaded = Mapping[str, frozenset[int]]
"""Primary keys of the rows that a source brought, by model."""


def load_existing(
    engine: Engine, tables: Mapping[str, ModelTable], sources: Sequence[Source]
) -> list[Loaded]:
    """Insert the records of the sources under their own primary keys, without any import rule.

    Records that an earlier source brought are left out, and so are those that refer to a record
    which is not there. Returns what each source brought.
    """
    present: dict[str, set[int]] = {}
    loaded: list[dict[str, frozenset[int]]] = [{} for _ in sources]
    with engine.begin() as connection:
        for name in load_catalogue():
            if name not in tables:
                continue
            known = present.setdefault(name, set())
            for source, brought in zip(sources, loaded, strict=True):
                before = frozenset(known)
                fitting = _fitting(tables[name], source, present)
                for rows in slices(_rows(tables[name], fitting)):
                    insert_rows(connection, tables[name].table, rows)
                brought[name] = frozenset(known - before)
    return list(loaded)


def _fitting(
    table: ModelTable, source: Source, present: Mapping[str, set[int]]
) -> Iterator[Record]:
    """Yield the records that can be put in, and count them as present."""
    model = table.model
    known = present[model.name]
    for record in source.records(model.name):
        references = (
            (key.to, record.fields.get(field)) for field, key in model.foreign_keys.items()
        )
        if record.pk not in known and all(
            pk is None or pk in present.get(to, ()) for to, pk in references
        ):
            known.add(record.pk)
            yield record


def _rows(table: ModelTable, records: Iterator[Record]) -> Iterator[dict[str, Any]]:
    encoders = {
        field: (table.column(field).name, encoder(table.model.fields[field], table.column(field)))
        for field in table.fields
    }
    required = {
        column.name: neutral_value(column)
        for column in table.table.columns
        if requires_value(column) and not column.primary_key
    }
    for record in records:
        row = {"id": record.pk, **required}
        for field, value in record.fields.items():
            if field in encoders:
                column, encode = encoders[field]
                row[column] = encode(value)
        yield row

"""Check that a destination's tables fit an export, before anything is written (W-24)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from sqlalchemy import Engine, Enum, String, inspect

from relocation.archive.records import Record
from relocation.catalogue import FieldType, load_catalogue
from relocation.findings import Finding, FindingKind
from relocation.transfer.database.schema import (
    LOST_PASSWORDS,
    ModelTable,
    is_mandatory,
    missing_columns,
    reflect,
    requires_value,
)

NEEDED_LATER: Final[Mapping[str, frozenset[str]]] = {
    "sentry.organization": frozenset({"name", "slug", "status"}),
    "sentry.organizationmember": frozenset({"organization", "role", "user_id"}),
    "sentry.project": frozenset({"organization"}),
    "sentry.projectkey": frozenset({"project"}),
    "sentry.user": frozenset({"email", "is_active", "password", "username"}),
}
"""Columns without which the steps after an import fail: owners, the reveal, claims, notices."""

_NO_TABLE: Final = "The destination has no table for this model."
_NEEDED: Final = (
    "The destination has no column for this field. Without it, nobody can be made an owner, "
    "claim an account or be emailed."
)
_NO_CLAIMS: Final = (
    "The destination has no table for lost passwords. Without it, nobody can claim an account."
)

Fault = Callable[[str], str | None]
"""Says what is wrong with a text for a column, without showing it."""


def check_schema(
    tables: Mapping[str, ModelTable], fields_used: Mapping[str, set[str]]
) -> list[Finding]:
    """Report what keeps a database from taking the fields of each model as they are."""
    findings = []
    for model, used in fields_used.items():
        if model not in tables:
            findings.append(Finding(FindingKind.MISSING_TABLE, model, _NO_TABLE))
        else:
            findings += missing_columns(tables[model], used)
            findings += _required_columns(tables[model], used)
    return findings


def check_later_steps(engine: Engine) -> list[Finding]:
    """Report what the steps after an import would miss, whatever the export has."""
    tables = reflect(engine, [load_catalogue()[model] for model in NEEDED_LATER])
    findings = [
        Finding(FindingKind.MISSING_TABLE, model, _NO_TABLE)
        for model in NEEDED_LATER
        if model not in tables
    ]
    with engine.connect() as connection:
        if not inspect(connection).has_table(LOST_PASSWORDS):
            findings.append(Finding(FindingKind.MISSING_TABLE, LOST_PASSWORDS, _NO_CLAIMS))
    return findings + [
        Finding(FindingKind.NEEDED_COLUMN, model, _NEEDED, field=field)
        for model, needed in NEEDED_LATER.items()
        if model in tables
        for field in sorted(needed - set(tables[model].fields))
    ]


def check_values(
    table: ModelTable,
    records: Callable[[], Iterable[Record]],
    overwritten: Collection[str] = frozenset(),
) -> list[Finding]:
    """Report columns that are narrower than the reference's, and too narrow for some record.

    What the export has in `overwritten` fields does not matter. Reads the records only where there
    is such a column.
    """
    narrow = {field: fault for field, fault in _narrow_columns(table) if field not in overwritten}
    if not narrow:
        return []
    first: dict[str, tuple[int, str]] = {}
    for record in records():
        for field, fault in narrow.items():
            value = record.fields.get(field)
            said = fault(value) if isinstance(value, str) and field not in first else None
            if said is not None:
                first[field] = (record.pk, said)
    return [
        Finding(FindingKind.NARROW_COLUMN, table.model.name, said, field=field, pk=pk)
        for field, (pk, said) in sorted(first.items())
    ]


def check_restrictions(table: ModelTable, records: Callable[[], Iterable[Record]]) -> list[Finding]:
    """Report fields that narrow access in some record, and that the database has no column for.

    Reads the records only where there is such a field.
    """
    lost = {
        name: field.widest
        for name, field in table.model.fields.items()
        if field.widest is not None and name not in table.fields
    }
    first: dict[str, int] = {}
    for record in records() if lost else ():
        for name, widest in lost.items():
            if record.fields.get(name, widest) not in (None, widest):
                first.setdefault(name, record.pk)
    reason = "It restricts who may do what, and the destination has no column for it."
    return [
        Finding(FindingKind.LOST_RESTRICTION, table.model.name, reason, field=name, pk=pk)
        for name, pk in sorted(first.items())
    ]


def _narrow_columns(table: ModelTable) -> Iterator[tuple[str, Fault]]:
    for name in load_catalogue()[table.model.name].fields.keys() & set(table.fields):
        field, stored = table.model.fields[name], table.column(name).type
        if field.type is not FieldType.TEXT or not isinstance(stored, String):
            continue
        if isinstance(stored, Enum):
            yield name, _choices(frozenset(stored.enums))
        elif stored.length is not None and (field.length is None or stored.length < field.length):
            yield name, _limit(stored.length)


def _choices(known: frozenset[str]) -> Fault:
    return lambda value: (
        None if value in known else "The destination's column does not know this choice."
    )


def _limit(length: int) -> Fault:
    def fault(value: str) -> str | None:
        if len(value) <= length:
            return None
        return f"A value has {len(value)} characters; the destination's column takes {length}."

    return fault


def _required_columns(table: ModelTable, used: set[str]) -> list[Finding]:
    filled = {table.model.columns[field] for field in used if field in table.fields}
    return [
        Finding(
            FindingKind.REQUIRED_COLUMN,
            table.model.name,
            "The destination requires a value in this column, and the export has none.",
            field=column.name,
        )
        for column in table.table.columns
        if column.name not in filled and not column.primary_key and requires_value(column)
    ]


def prevents_import(finding: Finding) -> bool:
    """Tell whether a finding about a schema makes an import impossible.

    A column that is missing for an optional field loses that field alone, and one that computes its
    values needs none.
    """
    if finding.kind is FindingKind.COMPUTED_COLUMN:
        return False
    if finding.kind is not FindingKind.MISSING_COLUMN or finding.field is None:
        return True
    return is_mandatory(load_catalogue()[finding.model], finding.field)

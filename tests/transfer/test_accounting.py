"""Every record is accounted for, whatever an export holds (B-4, B-5, B-6)."""

import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from dict_storage import DictStorage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from relocation.archive.records import Record
from relocation.catalogue import FieldType, Model, Scope, load_catalogue
from relocation.findings import FindingKind
from relocation.transfer.database.schema import ModelTable, reflect
from relocation.transfer.load.chunks import ImportReport, read_chunks
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.prepare.left_out import left_out
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import ScanReport, scan_export

CATALOGUE = load_catalogue().newest()
ADMITTED = CATALOGUE.admitted(Scope.ORGANIZATION)
LEFT_OUT = {FindingKind.LOST_REFERENCE, FindingKind.DUPLICATE, FindingKind.OUT_OF_SCOPE}
DATE = "2023-06-22T22:54:28.773Z"

VALUES: dict[FieldType, tuple[Any, ...]] = {
    FieldType.INTEGER: (0, 1),
    FieldType.BIGINT: (0, 1, 2**53),
    FieldType.FLOAT: (0, 1.5),
    FieldType.BOOLEAN: (True, False),
    FieldType.TEXT: ("a", "b", "c"),
    FieldType.DATETIME: (DATE, "2023-06-22T22:54:28Z", "2023-06-22T22:54:28.773123+02:00"),
    FieldType.JSON: ({}, [1], {"a": None}),
    FieldType.JSON_TEXT: ({}, '{"a": [1]}', "text"),
    FieldType.FLAGS: ("0", "3"),
    FieldType.ARRAY: ("[]", "['a']"),
    FieldType.OPTION: (1, '"a"', None, [1]),
}
"""Few values of each type, so that records collide."""


@st.composite
def records_of(draw: st.DrawFn, model: Model, pk: int) -> Record:
    """Draw a record of a model: it may refer to nothing, lack fields and have unknown ones."""
    fields: dict[str, Any] = {}
    for name, field in model.fields.items():
        reference = model.foreign_keys.get(name)
        if reference is not None:
            fields[name] = draw(st.sampled_from((1, 1, 1, 2, 3, 404, None, ["a"])))
        elif field.required:
            fields[name] = draw(st.sampled_from(VALUES[field.type]))
        elif draw(st.integers(0, 2)):
            fields[name] = draw(st.none() | st.sampled_from(VALUES[field.type]))
        if field.type is FieldType.OPTION and field.required and fields.get(name) is None:
            fields[name] = 1
    if model.name == "sentry.useroption":
        fields["key"] = draw(st.sampled_from(("language", "theme")))
    if not draw(st.integers(0, 9)):
        fields["of_another_version"] = 1
    return Record(model.name, pk, fields)


@st.composite
def exports(draw: st.DrawFn) -> list[Record]:
    """Draw an export over the catalogue, its records in any order."""
    found: list[Record] = []
    for name in draw(st.lists(st.sampled_from(list(CATALOGUE)), min_size=5, max_size=25)):
        pks = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        found += [draw(records_of(CATALOGUE[name], pk)) for pk in pks]
    roots = ("sentry.organization", "sentry.user", "sentry.project", "sentry.projectkey")
    found += [draw(records_of(CATALOGUE[name], pk)) for name in roots for pk in (1, 2)]
    found += draw(
        st.lists(
            st.just(Record("no.such", 1, {})) | st.just(Record("sentry.organizationmapping", 2, {}))
        )
    )
    # Some organization can be asked for, and somebody is there.
    found = [one for one in found if (one.model, one.pk) != ("sentry.organization", 1)]
    found.append(Record("sentry.organization", 1, {"name": "a", "slug": "acme", "status": 0}))
    return draw(st.permutations(found))


def rows_of(engine: Engine, tables: dict[str, ModelTable]) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(
            {
                name: connection.execute(select(func.count()).select_from(one.table)).scalar_one()
                for name, one in tables.items()
            }
        )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_every_record_of_any_export_is_accounted_for(
    data: st.DataObject,
    destination: Engine,
    make_storage: Callable[[], DictStorage],
    keys: tuple[str, str],
) -> None:
    """B-4, B-5, B-6: from the file to the rows; the destination fills as examples pass."""
    (private, public), storage = keys, make_storage()
    found = data.draw(exports())
    name = str(uuid.uuid4())
    scan = scan_export(
        found,
        wanted=["acme"],
        max_organizations=20,
        max_users=2000,
        storage=storage,
        prefix=name,
        public_pem=public,
    )
    form = open_normalised(storage, name, private)
    check_scan(found, scan, form.facts)
    tables = reflect(destination, ADMITTED)
    before = rows_of(destination, tables)
    bind(destination, name, 1)
    report = import_records(
        destination,
        form,
        relocation_id=name,
        fence=1,
        chunk_records=data.draw(st.integers(1, 5)),
    )
    selected = {model: list(form.records(model)) for model in form.models()}
    check_import(selected, report)
    arrived = rows_of(destination, tables) - before
    assert arrived == Counter({model: report.inserted(model) for model in report.accounts})
    check_references(destination, name, selected, report, tables)


def check_scan(found: list[Record], scan: ScanReport, facts: dict[str, Any]) -> None:
    """Every record of the file was selected, or left out with its key and a cause."""
    assert scan.read == Counter(record.model for record in found)
    told = Counter(finding.model for finding in left_out(facts))
    for model, read in scan.read.items():
        assert read == scan.selected.get(model, 0) + told[model]
        assert told[model] == sum(scan.skipped.get(model, {}).values())
    keys = Counter((record.model, record.pk) for record in found)
    assert Counter((one.model, one.pk) for one in left_out(facts)) <= keys


def check_import(selected: dict[str, list[Record]], report: ImportReport) -> None:
    """Every selected record met one fate, and each that did not arrive is told once."""
    told = [(one.model, one.pk) for one in report.findings if one.kind in LEFT_OUT]
    assert len(set(told)) == len(told)
    assert report.accounts.keys() == selected.keys()
    for model, records in selected.items():
        account = report.accounts[model]
        read, *fates = dataclasses.astuple(account)
        assert read == sum(fates) == len(records)
        missing = {pk for name, pk in told if name == model}
        assert len(missing) == account.skipped + account.dropped
        assert missing <= {record.pk for record in records}


def check_references(
    engine: Engine,
    name: str,
    selected: dict[str, list[Record]],
    report: ImportReport,
    tables: dict[str, ModelTable],
) -> None:
    """References lead to where their records went, or are null and told; keys all arrive."""
    nulled = {
        (one.model, one.pk, one.field)
        for one in report.findings
        if one.kind is FindingKind.NULLED_REFERENCE
    }
    with engine.connect() as connection:
        chunks = {model: list(read_chunks(connection, name, model)) for model in selected}
        maps = {
            model: {pk: here for chunk in found for pk, here in chunk.pks.items()}
            for model, found in chunks.items()
        }
        for model, records in selected.items():
            inserted = {pk: here for one in chunks[model] for pk, here in one.inserted.items()}
            table = tables[model]
            for record in records:
                if record.pk not in inserted:
                    continue
                row = select(table.table).where(table.table.c.id == inserted[record.pk])
                there = connection.execute(row).mappings().one()
                for field in table.model.foreign_keys.keys() & set(table.fields):
                    key = table.model.foreign_keys[field]
                    if field not in table.fields:
                        continue
                    given, has = record.fields.get(field), there[table.column(field).name]
                    known = maps.get(key.to, {})
                    if isinstance(given, int) and given in known:
                        assert has == known[given]
                    else:
                        assert has is None
                        assert (given is None) is ((model, record.pk, field) not in nulled)
        for record in selected.get("sentry.projectkey", ()):
            whole = record.fields.get("project") in maps.get("sentry.project", {})
            assert (record.pk in maps["sentry.projectkey"]) is whole


def test_what_is_left_out_by_a_scan_is_listed_with_its_cause(
    storage: DictStorage, keys: tuple[str, str]
) -> None:
    """B-4: by primary key, though it may be most of a large file."""
    private, public = keys
    person = {"username": "ann", "email": "ann@example.org"}
    found = [
        Record("sentry.user", 1, person),
        Record("sentry.organization", 1, {"name": "a", "slug": "acme"}),
        Record("sentry.organization", 2, {"name": "b", "slug": "other"}),
        *(
            Record("sentry.project", pk, {"organization": 2, "slug": f"{pk}"})
            for pk in (3, 4, 5, 9)
        ),
        Record("sentry.project", 9, {"organization": 1, "slug": "again"}),
        Record("sentry.option", 7, {"key": "a"}),
        Record("sentry.organizationmapping", 8, {}),
        Record("no.such", 9, {}),
    ]
    scan_export(
        found,
        wanted=["acme"],
        max_organizations=20,
        max_users=2000,
        storage=storage,
        prefix="one",
        public_pem=public,
    )
    facts = open_normalised(storage, "one", private).facts
    assert facts["left_out"]["sentry.project"]["NotRequested"] == "3..5,9"
    told = {(one.model, one.pk, one.kind) for one in left_out(facts)}
    assert told == {
        ("sentry.user", 1, FindingKind.NOT_REQUESTED),
        ("sentry.organization", 2, FindingKind.NOT_REQUESTED),
        *(("sentry.project", pk, FindingKind.NOT_REQUESTED) for pk in (3, 4, 5, 9)),
        ("sentry.project", 9, FindingKind.REPEATED_RECORD),
        ("sentry.option", 7, FindingKind.OUT_OF_SCOPE),
        ("sentry.organizationmapping", 8, FindingKind.REMOVED_MODEL),
        ("no.such", 9, FindingKind.UNKNOWN_MODEL),
    }
    assert all(one.reason for one in left_out(facts))

"""What arrived is compared with the archive, in the destination itself (B-8)."""

import uuid

import pytest
from destinations import Add
from sqlalchemy import Engine, event, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.transfer.compare.arrival import verify_import
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.source import RecordList

CATALOGUE = load_catalogue()
ADMITTED = {model.name for model in CATALOGUE.admitted(Scope.ORGANIZATION)}
EXAMPLE = [r for r in example_export(organizations=2, members=3, projects=2) if r.model in ADMITTED]

Found = set[tuple[FindingKind, str, str | None]]


def import_example(engine: Engine, records: list[Record] = EXAMPLE) -> str:
    relocation_id = str(uuid.uuid4())
    bind(engine, relocation_id, 1)
    source = RecordList(records, CATALOGUE)
    import_records(engine, source, relocation_id=relocation_id, fence=1, chunk_records=7)
    return relocation_id


def found(engine: Engine, relocation_id: str) -> Found:
    findings = verify_import(engine, RecordList(EXAMPLE, CATALOGUE), relocation_id)
    return {(one.kind, one.model, one.field) for one in findings}


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount == 1


def test_an_import_that_went_well_shows_no_difference(destination: Engine) -> None:
    assert found(destination, import_example(destination)) == set()


def test_an_import_that_collides_with_an_earlier_one_shows_none_either(destination: Engine) -> None:
    first = import_example(destination)
    second = import_example(destination)
    assert found(destination, second) == set()
    assert found(destination, first) == set()


def test_what_became_of_an_earlier_import_is_no_difference_of_the_later_one(
    destination: Engine,
) -> None:
    first = import_example(destination)
    second = import_example(destination)
    change(destination, "UPDATE sentry_project SET name = 'other' WHERE id = 1")
    assert found(destination, second) == set()
    assert found(destination, first) == {(FindingKind.UNEQUAL, "sentry.project", "name")}


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        (
            "UPDATE sentry_project SET name = 'other' WHERE id = 1",
            (FindingKind.UNEQUAL, "sentry.project", "name"),
        ),
        (
            "DELETE FROM sentry_projectkey WHERE id = 1",
            (FindingKind.EXISTENCE, "sentry.projectkey", None),
        ),
        (
            "UPDATE sentry_projectkey SET project_id = 2 WHERE id = 1",
            (FindingKind.FOREIGN_KEY, "sentry.projectkey", "project"),
        ),
        (
            "INSERT INTO sentry_projectoptions (project_id, key, value) VALUES (1, 'x:y', '1')",
            (FindingKind.UNEQUAL_COUNTS, "sentry.projectoption", None),
        ),
    ],
)
def test_what_changed_since_the_import_is_found_as_long_as_it_stays(
    destination: Engine, statement: str, difference: tuple[FindingKind, str, str | None]
) -> None:
    relocation_id = import_example(destination)
    change(destination, statement)
    assert found(destination, relocation_id) == {difference}
    assert found(destination, relocation_id) == {difference}


def test_a_difference_that_was_mended_is_found_no_more(destination: Engine) -> None:
    relocation_id = import_example(destination)
    change(destination, "UPDATE sentry_project SET platform = 'x' WHERE id = 1")
    assert found(destination, relocation_id)
    (first,) = [r for r in EXAMPLE if r.model == "sentry.project"][:1]
    platform = first.fields["platform"]
    with destination.begin() as connection:
        connection.execute(
            text("UPDATE sentry_project SET platform = :p WHERE id = 1"), {"p": platform}
        )
    assert found(destination, relocation_id) == set()


def test_what_the_product_does_by_itself_meanwhile_is_no_difference(destination: Engine) -> None:
    """I-73: its checker subscribes to what waits for it, hidden or not."""
    relocation_id = import_example(destination)
    change(
        destination,
        "UPDATE sentry_querysubscription SET status = 0, "
        f"subscription_id = '0/{'ab' * 16}' WHERE id = 1",
    )
    assert found(destination, relocation_id) == set()
    change(destination, "UPDATE sentry_querysubscription SET status = 4 WHERE id = 1")
    assert found(destination, relocation_id) == {
        (FindingKind.UNEQUAL, "sentry.querysubscription", "status")
    }


def test_many_rows_without_a_record_are_counted(destination: Engine) -> None:
    relocation_id = import_example(destination)
    for number in range(8):
        row = f"(1, 'made:{number}', '1')"
        change(
            destination, f"INSERT INTO sentry_projectoptions (project_id, key, value) VALUES {row}"
        )
    findings = verify_import(destination, RecordList(EXAMPLE, CATALOGUE), relocation_id)
    assert len(findings) == 6
    assert findings[-1].reason.startswith("3 more new rows")


def test_it_writes_nothing(destination: Engine, add: Add) -> None:
    relocation_id = import_example(destination)
    written = []

    @event.listens_for(destination, "before_cursor_execute")
    def watch(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if sql.split(maxsplit=1)[0].upper() in {"INSERT", "UPDATE", "DELETE", "COPY"}:
            written.append(sql)

    assert found(destination, relocation_id) == set()
    assert written == []

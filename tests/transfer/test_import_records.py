"""The import as a whole: what arrives, what is accounted for, and what a second start does."""

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Barrier
from typing import Any, Unpack

import pytest
from destinations import ImportOptions, Rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.database import prepare
from relocation.errors import ConfigurationError, FencedOut, PermanentError, TransientError
from relocation.findings import FindingKind
from relocation.model import RecordCounts
from relocation.transfer.database.schema import ModelTable, create_own_tables
from relocation.transfer.load.importing import (
    _CHUNK_BYTES,
    ImportReport,
    bind,
    import_records,
    import_report,
)
from relocation.transfer.source import RecordList

DATE = "2023-06-22T22:54:28.773Z"


def source_of(*records: Record) -> RecordList:
    return RecordList(records, load_catalogue())


def run(
    engine: Engine, source: RecordList, relocation_id: str = "one", **options: Unpack[ImportOptions]
) -> ImportReport:
    bind(engine, relocation_id, 1)
    return import_records(engine, source, relocation_id=relocation_id, fence=1, **options)


def organization(pk: int, slug: str) -> Record:
    return Record("sentry.organization", pk, {"name": slug, "slug": slug, "status": 0})


def team(pk: int, of: int | None, slug: str = "") -> Record:
    fields = {"organization": of, "name": f"T{pk}", "slug": slug or f"t{pk}", "date_added": DATE}
    return Record("sentry.team", pk, fields)


SMALL = source_of(
    organization(5, "acme"),
    Record(
        "sentry.user",
        7,
        {"username": "ann", "email": "ann@example.org", "is_active": True, "date_joined": DATE},
    ),
    Record("sentry.email", 3, {"email": "ann@example.org"}),
    team(11, of=5),
    team(12, of=5),
    team(13, of=5, slug="t11"),
    Record("sentry.project", 20, {"organization": 5, "name": "P", "slug": "p"}),
    Record("sentry.projectteam", 30, {"project": 20, "team": 12}),
    Record("sentry.projectteam", 31, {"project": 20, "team": 99}),
)


def test_the_fresh_installation_arrives_whole(
    destination: Engine, fresh_install: RecordList, rows: Rows
) -> None:
    """A-115, A-20, A-21, A-35."""
    report = run(destination, fresh_install)
    arrived = {name: len(found) for name in load_catalogue().newest() if (found := rows(name))}
    assert arrived == {
        "sentry.organization": 1,
        "sentry.user": 2,
        "sentry.email": 2,
        "sentry.useremail": 2,
        "sentry.organizationmember": 2,
        "sentry.team": 1,
        "sentry.project": 1,
        "sentry.projectkey": 1,
        "sentry.projectoption": 4,
        "sentry.rule": 1,
        "sentry.projectteam": 1,
        "sentry.organizationmemberteam": 2,
    }
    assert {name: report.inserted(name) for name in arrived} == arrived
    assert rows("sentry.organization")[0]["status"] == 3
    assert not any(one["is_staff"] or one["is_superuser"] for one in rows("sentry.user"))
    kinds = {(one.kind, one.model) for one in report.findings if one.field}
    assert kinds == {(FindingKind.UNKNOWN_FIELD, "sentry.team")}  # the scan takes these out before
    rest = {one.kind for one in report.findings if not one.field}
    assert rest == {FindingKind.OUT_OF_SCOPE}


def test_a_second_relocation_of_the_same_file_leaves_the_first_as_it_is(
    destination: Engine, fresh_install: RecordList, tables: dict[str, ModelTable], rows: Rows
) -> None:
    """A-26, A-27, A-42."""
    admitted = load_catalogue().admitted(Scope.ORGANIZATION)
    names = [model.name for model in admitted if model.name in tables]
    run(destination, fresh_install, "one")
    before = {name: rows(name) for name in names}
    report = run(destination, fresh_install, "two")
    for name in names:
        assert rows(name)[: len(before[name])] == before[name], name
    assert rows("sentry.organization")[1]["slug"].startswith("testing-")
    assert all("@example.com-" in one["username"] for one in rows("sentry.user")[2:])
    assert report.accounts["sentry.email"] == RecordCounts(read=2, merged=2)
    renamed = [one for one in report.findings if one.kind is FindingKind.RENAMED]
    assert sorted(one.model for one in renamed) == ["sentry.organization", *["sentry.user"] * 2]
    (slug,) = (one.reason for one in renamed if one.model == "sentry.organization")
    assert slug.startswith('"testing" is now "testing-')


def test_only_users_come_in_the_user_scope(
    destination: Engine, fresh_install: RecordList, rows: Rows
) -> None:
    """A-35, S-2."""
    report = run(destination, fresh_install, scope=Scope.USER)
    assert (len(rows("sentry.user")), len(rows("sentry.useremail"))) == (2, 2)
    assert rows("sentry.organization") == []
    assert report.accounts["sentry.organization"] == RecordCounts(read=1, skipped=1)


def test_references_point_at_the_rows_of_this_import(destination: Engine, rows: Rows) -> None:
    """I-30, I-31: whatever keys the destination had in use."""
    run(destination, SMALL, "one")
    run(destination, SMALL, "two")
    pairs = [(one["project"], one["team"]) for one in rows("sentry.projectteam")]
    projects = [one["id"] for one in rows("sentry.project")]
    teams = [one["id"] for one in rows("sentry.team") if one["slug"] == "t12"]
    assert pairs == list(zip(projects, teams, strict=True))


def test_each_record_that_does_not_arrive_is_told_with_its_cause(destination: Engine) -> None:
    """B-4, A-58: a dropped parent drops its children."""
    report = run(
        destination,
        source_of(
            organization(1, "one"),
            team(1, of=1),
            team(2, of=404),
            team(3, of=None),
            Record("sentry.project", 1, {"organization": 1, "name": "P", "slug": "p"}),
            Record("sentry.projectteam", 1, {"project": 1, "team": 2}),
            Record("sentry.authenticator", 8, {"user": 1}),
            Record("no.such", 9, {}),
        ),
    )
    assert report.accounts["sentry.team"] == RecordCounts(read=3, inserted=1, dropped=2)
    assert [(one.model, one.pk, one.kind, one.field) for one in report.findings] == [
        ("sentry.team", 2, FindingKind.LOST_REFERENCE, "organization"),
        ("sentry.team", 3, FindingKind.LOST_REFERENCE, "organization"),
        ("sentry.authenticator", 8, FindingKind.OUT_OF_SCOPE, None),
        ("sentry.projectteam", 1, FindingKind.LOST_REFERENCE, "team"),
    ]
    assert "sentry.organization 404" in report.findings[0].reason


def test_a_nullable_reference_that_is_lost_becomes_null(destination: Engine, rows: Rows) -> None:
    """B-6, W-18."""
    report = run(
        destination,
        source_of(
            organization(1, "one"),
            Record("sentry.project", 1, {"organization": 1, "name": "P", "slug": "p"}),
            Record(
                "sentry.rule", 1, {"project": 1, "label": "R", "owner_team": 7, "owner_user_id": 8}
            ),
        ),
    )
    [rule] = rows("sentry.rule")
    assert (rule["owner_team"], rule["owner_user_id"]) == (None, None)
    assert [(one.kind, one.field) for one in report.findings] == [
        (FindingKind.NULLED_REFERENCE, "owner_team"),
        (FindingKind.NULLED_REFERENCE, "owner_user_id"),
    ]
    assert report.accounts["sentry.rule"] == RecordCounts(read=1, inserted=1)


def test_a_row_of_another_organization_is_dropped_even_where_it_could_be_null(
    destination: Engine, rows: Rows
) -> None:
    report = run(
        destination,
        source_of(
            organization(1, "one"),
            Record("sentry.alertrule", 1, {"organization": 2, "name": "theirs"}),
            Record("sentry.alertrule", 2, {"organization": 1, "name": "ours"}),
        ),
    )
    assert [one["name"] for one in rows("sentry.alertrule")] == ["ours"]
    assert [(one.kind, one.pk) for one in report.findings] == [(FindingKind.LOST_REFERENCE, 1)]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_read_is_always_the_sum_of_what_became_of_the_records(
    make_destination: Callable[[], Engine], data: st.DataObject
) -> None:
    """B-4, whatever refers to what, and however it is cut."""
    pk = st.integers(1, 4)
    teams = data.draw(st.lists(st.tuples(st.none() | pk, st.sampled_from("ab")), max_size=6))
    links = data.draw(st.lists(st.tuples(pk, pk), max_size=8))
    source = source_of(
        *(organization(number, f"o{number}") for number in data.draw(st.sets(pk, min_size=1))),
        *(team(number, of, slug) for number, (of, slug) in enumerate(teams, 1)),
        Record("sentry.project", 1, {"organization": 1, "name": "P", "slug": "p"}),
        *(
            Record("sentry.projectteam", number, {"project": project, "team": linked})
            for number, (project, linked) in enumerate(links, 1)
        ),
    )
    engine = make_destination()
    report = run(engine, source, chunk_records=data.draw(st.integers(1, 3)))
    told = [(one.model, one.pk) for one in report.findings if one.kind in LEFT_OUT]
    assert len(set(told)) == len(told)
    for model in source.models():
        account = report.accounts[model]
        read, *fates = dataclasses.astuple(account)
        assert read == sum(fates) == len(list(source.records(model)))
        missing = sum(1 for name, _ in told if name == model)
        assert missing == account.skipped + account.dropped
        with engine.connect() as connection:
            count = text(f"SELECT count(*) FROM {load_catalogue()[model].table}")
            assert connection.execute(count).scalar() == account.inserted


LEFT_OUT = {FindingKind.LOST_REFERENCE, FindingKind.DUPLICATE}


def test_an_import_that_is_done_is_left_alone(destination: Engine, rows: Rows) -> None:
    """A-60: also when the chunk size was changed in between."""
    first = run(destination, SMALL, chunk_records=1)
    before = {name: rows(name) for name in SMALL.models()}
    assert run(destination, SMALL, chunk_records=50) == first
    assert {name: rows(name) for name in SMALL.models()} == before
    assert import_report(destination, "one") == first


def test_a_full_and_a_partial_last_chunk_both_arrive(destination: Engine) -> None:
    """A-44."""
    for relocation_id, size in (("one", 3), ("two", 2)):
        report = run(destination, SMALL, relocation_id, chunk_records=size)
        assert report.accounts["sentry.team"] == RecordCounts(read=3, inserted=2, skipped=1)
    with destination.connect() as connection:
        chunks = connection.execute(
            text(
                "SELECT relocation_id, chunk, read FROM relocation_import_chunk "
                "WHERE model = 'sentry.team' ORDER BY 1, 2"
            )
        ).all()
    assert chunks == [("one", 0, 3), ("two", 0, 2), ("two", 1, 1)]


def test_progress_is_told_by_model_and_number(destination: Engine) -> None:
    told: list[tuple[str, int]] = []
    run(destination, SMALL, chunk_records=2, progress=lambda *what: told.append(what))
    assert told[:3] == [("sentry.organization", 1), ("sentry.team", 2), ("sentry.team", 1)]
    assert sum(count for _, count in told) == 9


def large(records: int) -> RecordList:
    """Records of which 40 fill a chunk."""
    shared = {"value": "x" * (_CHUNK_BYTES // 41), "last_updated": "2026-01-01T00:00:00Z"}
    made = [Record("sentry.option", pk, {"key": f"k{pk}", **shared}) for pk in range(1, records)]
    return RecordList(made, load_catalogue())


def test_large_records_come_in_smaller_chunks(destination: Engine) -> None:
    told: list[tuple[str, int]] = []
    options: ImportOptions = {
        "scope": Scope.CONFIG,
        "progress": lambda *what: told.append(what),
    }
    run(destination, large(101), **options)
    assert told == [("sentry.option", 40), ("sentry.option", 40), ("sentry.option", 20)]
    assert run(destination, large(101), **options).inserted("sentry.option") == 100


class Killed(BaseException):
    """The process dies here."""


def picture(engine: Engine) -> dict[str, list[Any]]:
    """Return everything an import leaves, save what is random or the time."""
    queries = {
        "organizations": "SELECT id, slug, status FROM sentry_organization ORDER BY id",
        "users": "SELECT id, username FROM auth_user ORDER BY id",
        "emails": "SELECT id, email FROM sentry_email ORDER BY id",
        "teams": "SELECT id, slug, organization_id FROM sentry_team ORDER BY id",
        "projects": "SELECT id, slug, organization_id FROM sentry_project ORDER BY id",
        "links": "SELECT id, project_id, team_id FROM sentry_projectteam ORDER BY id",
        "chunks": "SELECT model, chunk, read, inserted, merged, skipped, dropped, pks, findings "
        "FROM relocation_import_chunk ORDER BY model, chunk",
    }
    with engine.connect() as connection:
        return {name: list(connection.execute(text(sql))) for name, sql in queries.items()}


def test_an_answer_to_a_commit_that_is_lost_writes_nothing_twice(
    make_destination: Callable[[], Engine],
) -> None:
    """A-62: each start ends right after it commits one chunk."""
    undisturbed, disturbed = make_destination(), make_destination()
    expected = run(undisturbed, SMALL, chunk_records=1)
    for done in range(1, len(picture(undisturbed)["chunks"]) + 1):
        told = count(1)

        def die(*_: object, done: int = done, told: Iterator[int] = told) -> None:
            if next(told) == done:
                raise Killed

        with pytest.raises(Killed):
            run(disturbed, SMALL, chunk_records=1, progress=die)
        assert len(picture(disturbed)["chunks"]) == done
    assert run(disturbed, SMALL, chunk_records=1) == expected
    assert picture(disturbed) == picture(undisturbed)


def test_duplicates_are_still_seen_after_a_restart(destination: Engine, rows: Rows) -> None:
    """The team with the slug of an earlier chunk, written by a process that died."""
    calls = 0

    def die_after_two(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed

    with pytest.raises(Killed):
        run(destination, SMALL, chunk_records=2, progress=die_after_two)
    report = run(destination, SMALL, chunk_records=2)
    assert [one["slug"] for one in rows("sentry.team")] == ["t11", "t12"]
    assert report.accounts["sentry.team"] == RecordCounts(read=3, inserted=2, skipped=1)


def test_other_records_under_the_same_relocation_are_refused(
    destination: Engine, rows: Rows
) -> None:
    run(destination, source_of(organization(1, "one")))
    with pytest.raises(PermanentError, match="not the ones this import began with"):
        run(destination, source_of(organization(2, "two")))
    assert len(rows("sentry.organization")) == 1


def test_a_process_with_an_older_fence_writes_nothing(destination: Engine, rows: Rows) -> None:
    """DESIGN 6.6."""
    bind(destination, "one", 2)
    with pytest.raises(FencedOut):
        import_records(destination, SMALL, relocation_id="one", fence=1)
    with pytest.raises(FencedOut):
        bind(destination, "one", 1)
    assert rows("sentry.organization") == []


def test_a_process_that_is_overtaken_stops_at_its_next_chunk(
    destination: Engine, rows: Rows
) -> None:
    """DESIGN 6.6: what it wrote before stays, and its successor goes on from there."""

    def overtake(model: str, _: int) -> None:
        if model == "sentry.organization":
            bind(destination, "one", 2)

    with pytest.raises(FencedOut):
        run(destination, SMALL, chunk_records=1, progress=overtake)
    assert (len(rows("sentry.organization")), len(rows("sentry.team"))) == (1, 0)
    report = import_records(destination, SMALL, relocation_id="one", fence=2)
    assert report.accounts["sentry.organization"] == RecordCounts(read=1, inserted=1)
    assert len(rows("sentry.organization")) == 1


def test_of_two_that_write_at_once_one_does_and_nothing_is_doubled(
    destination: Engine, rows: Rows
) -> None:
    """A-61: whoever comes second is refused or finds it written, and ends the same when retried."""
    bind(destination, "one", 1)
    together = Barrier(2)

    def write(_: int) -> ImportReport:
        together.wait(20)
        for _ in range(3):
            with suppress(TransientError):
                return import_records(
                    destination, SMALL, relocation_id="one", fence=1, chunk_records=1
                )
        raise AssertionError("refused three times")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(write, range(2))
    assert first == second == import_report(destination, "one")
    assert first.accounts["sentry.team"] == RecordCounts(read=3, inserted=2, skipped=1)
    assert len(rows("sentry.team")) == 2
    assert len(rows("sentry.project")) == len(rows("sentry.user")) == 1


def test_a_destination_that_is_not_the_bound_one_is_refused(
    destination: Engine, rows: Rows
) -> None:
    with pytest.raises(PermanentError, match="not the one this relocation started with"):
        import_records(destination, SMALL, relocation_id="one", fence=1)
    assert rows("sentry.organization") == []


def test_a_destination_that_vanished_is_refused_and_not_filled_anew(
    bare_destination: Engine,
) -> None:
    with pytest.raises(PermanentError, match="not the one this relocation started with"):
        import_records(bare_destination, SMALL, relocation_id="one", fence=1)
    with pytest.raises(ConfigurationError, match="not been prepared"):
        bind(bare_destination, "one", 1)


def test_binding_again_is_harmless_and_raises_the_fence(destination: Engine) -> None:
    for fence in (1, 1, 3):
        bind(destination, "one", fence)
    with destination.connect() as connection:
        found = connection.execute(text("SELECT relocation_id, fence FROM relocation_fence")).all()
    assert found == [("one", 3)]


def test_a_destination_without_the_tables_is_refused_before_anything_is_written(
    bare_destination: Engine,
) -> None:
    """W-24, DESIGN 8."""
    create_own_tables(bare_destination)
    with pytest.raises(PermanentError, match=r"sentry\.organization, sentry\.team"):
        run(bare_destination, SMALL)
    assert import_report(bare_destination, "one").accounts == {}


def test_an_optional_field_without_a_column_is_left_out_and_told_once(
    destination: Engine,
) -> None:
    with destination.begin() as connection:
        connection.execute(text("ALTER TABLE sentry_team DROP COLUMN date_added"))
    report = run(destination, SMALL, chunk_records=1)
    missing = [one for one in report.findings if one.kind is FindingKind.MISSING_COLUMN]
    assert [(one.model, one.field, one.pk) for one in missing] == [
        ("sentry.team", "date_added", None)
    ]
    assert report.inserted("sentry.team") == 2


def test_a_default_of_the_destination_stands_in_for_a_null(destination: Engine, rows: Rows) -> None:
    with destination.begin() as connection:
        connection.execute(text("ALTER TABLE sentry_team DROP COLUMN status"))
        connection.execute(
            text("ALTER TABLE sentry_team ADD COLUMN status INTEGER NOT NULL DEFAULT 7")
        )
    given = team(2, of=1)
    run(
        destination,
        source_of(
            organization(1, "one"),
            Record(*team(1, of=1)[:2], {**team(1, of=1).fields, "status": None}),
            Record(*given[:2], {**given.fields, "status": 0}),
        ),
    )
    assert [one["status"] for one in rows("sentry.team")] == [7, 0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x" * 65}, "its name has 65 characters; at most 64 fit"),
        ({"date_added": "private"}, "its date_added is not a date"),
        ({"slug": None}, "its slug is empty, and the destination requires a value"),
        ({"status": "private"}, "its status is not a whole number"),
    ],
)
def test_a_value_that_does_not_fit_stops_the_import_and_is_not_shown(
    destination: Engine, rows: Rows, fields: dict[str, Any], said: str
) -> None:
    """A-64, W-25."""
    bad = team(42, of=1)
    with pytest.raises(PermanentError) as refused:
        run(
            destination,
            source_of(organization(1, "one"), Record(*bad[:2], bad.fields | fields)),
        )
    assert f"sentry.team 42 cannot be imported: {said}." in refused.value.reason
    assert "private" not in str(refused.value)
    assert rows("sentry.team") == []


def test_the_report_is_plain_data(destination: Engine) -> None:
    report = run(destination, SMALL).as_json()
    assert report["accounts"]["sentry.organization"]["inserted"] == 1
    assert {"kind", "model", "reason", "field", "pk", "records"} == set(report["findings"][0])


def test_what_a_constraint_refuses_is_told_without_the_row(destination: Engine, rows: Rows) -> None:
    """W-24: the driver shows the values, which may be addresses."""
    with destination.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX one_name ON auth_user (first_name)"))
    people = [
        Record("sentry.user", pk, {**SMALL_USER, "username": f"u{pk}", "name": "ann@private.org"})
        for pk in (1, 2)
    ]
    with pytest.raises(TransientError, match="rejected some records") as refused:
        run(destination, source_of(*people))
    assert "name" in refused.value.internal
    shown = "".join(traceback.format_exception(refused.value))
    assert "private" not in shown
    assert rows("sentry.user") == []


SMALL_USER = {"email": "ann@example.org", "is_active": True, "date_joined": DATE}


def test_readers_see_no_half_import_and_do_not_wait_for_one(destination: Engine) -> None:
    """A-40: what is committed before the end is hidden, and what is not is not there."""
    reader = prepare(create_engine(destination.url)).execution_options(reads=True)
    seen: list[list[tuple[Any, ...]]] = []

    @event.listens_for(destination, "before_cursor_execute")
    def look(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("INSERT INTO relocation_import_chunk"):  # the rows are written by now
            with reader.connect() as other:
                query = text("SELECT slug, status FROM sentry_organization")
                seen.append([tuple(row) for row in other.execute(query)])

    run(destination, SMALL, chunk_records=1)
    reader.dispose()
    assert seen[0] == []
    assert len(seen) == 9, "a chunk for each record"
    assert set(map(tuple, seen[1:])) == {(("acme", 3),)}

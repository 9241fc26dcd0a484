"""The trial import: what it finds, what it leaves alone, and that it leaves nothing."""

import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, create_engine, inspect, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import ConfigurationError, PermanentError
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.existing import load_existing
from relocation.transfer.dry_run.scratch import drop_scratch, scratch, scratches
from relocation.transfer.dry_run.trial import TrialReport, try_import
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.source import RecordList

ID = "0b7f3f6e-9d5b-4c55-8d5c-6a4f0d2c9a11"
CATALOGUE = load_catalogue()
ADMITTED = {model.name for model in CATALOGUE.admitted(Scope.ORGANIZATION)}
EXAMPLE = [r for r in example_export(organizations=1, members=3, projects=1) if r.model in ADMITTED]
NOTHING = RecordList([], CATALOGUE)

Try = Callable[..., TrialReport]


@pytest.fixture
def trial(destination: Engine, tmp_path: Path) -> Iterator[Try]:
    """Try an import of the example; afterwards no scratch is left."""
    folder = tmp_path / "work"

    def run(
        records: list[Record] = EXAMPLE,
        baseline: RecordList = NOTHING,
        colliding: RecordList = NOTHING,
        progress: Callable[[str, int], None] = lambda _model, _records: None,
    ) -> TrialReport:
        return try_import(
            destination,
            RecordList(records, CATALOGUE),
            baseline=baseline,
            colliding=colliding,
            relocation_id=ID,
            chunk_records=50,
            folder=folder,
            progress=progress,
        )

    yield run
    assert not folder.exists() or list(folder.iterdir()) == []
    assert not [name for name in inspect(destination).get_schema_names() if "scratch" in name]


sqlite_only = pytest.mark.parametrize("databases", ["sqlite"], indirect=True, scope="session")


def put(engine: Engine, records: list[Record]) -> None:
    tables = reflect(engine, CATALOGUE.values())
    load_existing(engine, tables, [RecordList(records, CATALOGUE)])


def dump(engine: Engine) -> dict[str, Sequence[Row[Any]]]:
    found = {}
    with engine.connect() as connection:
        for name in sorted(inspect(connection).get_table_names()):
            found[name] = connection.execute(text(f"SELECT * FROM {name}")).all()
    return found


def capture(engine: Engine, usernames: list[str]) -> tuple[RecordList, RecordList]:
    """Return the baseline and the colliding users of a destination."""
    config = export_records(engine, scope=Scope.CONFIG, privileged_only=True)
    users = export_records(engine, scope=Scope.USER, usernames=usernames)
    return RecordList(config, CATALOGUE), RecordList(users, CATALOGUE)


def test_clean_data_gives_no_findings(trial: Try, destination: Engine) -> None:
    """B-8, B-4: everything is accounted for, and the destination does not notice."""
    before = dump(destination)
    done: dict[str, int] = {}
    report = trial(progress=lambda model, count: done.update({model: done.get(model, 0) + count}))
    assert report.findings == ()
    assert sum(account.read for account in report.imported.accounts.values()) == len(EXAMPLE)
    assert sum(done.values()) == len(EXAMPLE)
    assert report.imported.inserted("sentry.projectkey") >= 1
    assert dump(destination) == before


def test_an_import_that_collides_everywhere_gives_no_findings(
    trial: Try, destination: Engine
) -> None:
    """A-26, A-27, I-71: the same organization is there already, with all of its people."""
    before = str(uuid.uuid4())
    bind(destination, before, 1)
    import_records(destination, RecordList(EXAMPLE, CATALOGUE), relocation_id=before, fence=1)
    names = [r.fields["username"] for r in EXAMPLE if r.model == "sentry.user"]
    with destination.begin() as connection:
        connection.execute(text("UPDATE auth_user SET is_staff = true WHERE id = 1"))
    baseline, colliding = capture(destination, names)
    assert len(list(colliding.records("sentry.user"))) == len(names)
    assert len(list(baseline.records("sentry.user"))) == 1
    report = trial(baseline=baseline, colliding=colliding)
    assert report.findings == ()
    assert report.imported.accounts["sentry.user"].inserted == len(names)
    assert report.imported.accounts["sentry.email"].merged > 0


@sqlite_only  # on PostgreSQL triggers stay out of the scratch: they could write elsewhere
@pytest.mark.parametrize(
    ("reaction", "found"),
    [
        (
            "AFTER INSERT ON sentry_project BEGIN UPDATE sentry_project"
            " SET name = upper(name) || '!' WHERE id = NEW.id; END",
            (FindingKind.UNEQUAL, "sentry.project", "name"),
        ),
        (
            "AFTER INSERT ON sentry_projectkey BEGIN DELETE FROM sentry_projectkey"
            " WHERE id = NEW.id; END",
            (FindingKind.EXISTENCE, "sentry.projectkey", None),
        ),
        (
            "AFTER INSERT ON sentry_project BEGIN INSERT INTO sentry_projectoptions"
            " (project_id, key, value) VALUES (NEW.id, 'made:by-trigger', '1'); END",
            (FindingKind.UNEQUAL_COUNTS, "sentry.projectoption", None),
        ),
    ],
)
def test_what_the_destination_does_to_imported_data_is_found(
    trial: Try, destination: Engine, reaction: str, found: tuple[FindingKind, str, str | None]
) -> None:
    """B-8"""
    with destination.begin() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER reaction {reaction}")
    findings = trial().findings
    assert {(finding.kind, finding.model, finding.field) for finding in findings} == {found}


@sqlite_only
def test_a_change_of_what_was_there_is_found(trial: Try, destination: Engine) -> None:
    """B-8: of the baseline and of the colliding users, and not while they are put in."""
    fields = {"password": "!", "email": "", "is_active": True, "date_joined": "2023-01-01"}
    people = [
        Record(
            "sentry.user",
            pk,
            {"username": name, "is_staff": staff, "is_superuser": False, "name": "Me"} | fields,
        )
        for pk, name, staff in ((901, "root", True), (902, "ann", False))
    ]
    put(destination, people)
    with destination.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER reaction AFTER INSERT ON auth_user BEGIN"
            " UPDATE auth_user SET first_name = '' WHERE id > 900 AND id != NEW.id; END"
        )
    baseline, colliding = capture(destination, ["ann"])
    findings = trial(baseline=baseline, colliding=colliding).findings
    found = {(f.model, f.field, f.pk) for f in findings if f.pk in (901, 902)}
    assert found == {("sentry.user", "name", 901), ("sentry.user", "name", 902)}


def test_what_was_there_without_what_it_refers_to_is_left_out(trial: Try) -> None:
    """The rest of it is compared all the same."""
    records = [
        Record("sentry.option", 5, {"key": "system.url", "value": 1}),
        Record("sentry.userpermission", 5, {"user": 77, "permission": "users.admin"}),
    ]
    assert trial(baseline=RecordList(records, CATALOGUE)).findings == ()


def test_an_import_that_cannot_be_passes_its_error_on(trial: Try) -> None:
    long = [
        record._replace(fields={**record.fields, "username": "x" * 129})
        if record.model == "sentry.user"
        else record
        for record in EXAMPLE
    ]
    with pytest.raises(PermanentError, match=r"sentry\.user"):
        trial(long)


@sqlite_only
def test_the_scratch_is_for_its_owner_alone_and_replaces_one_left_over(
    destination: Engine, tmp_path: Path
) -> None:
    left_over = tmp_path / f"relocation_scratch_{uuid.UUID(ID).hex}.sqlite"
    left_over.write_text("what a killed process left")
    with scratch(destination, ID, tmp_path):
        assert stat.S_IMODE(left_over.stat().st_mode) == 0o600
        assert left_over.read_bytes().startswith(b"SQLite format 3")
    assert not left_over.exists()


def test_removing_a_scratch_leaves_other_relocations_alone(
    destination: Engine, tmp_path: Path
) -> None:
    other = str(uuid.uuid4())
    with scratch(destination, other, tmp_path) as kept:
        drop_scratch(destination, ID, tmp_path)
        drop_scratch(destination, ID, tmp_path)
        with kept.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM auth_user")).scalar() == 0


def test_an_unknown_kind_of_database_is_refused(tmp_path: Path) -> None:
    engine = create_engine("sqlite://")
    engine.dialect.name = "oracle"
    with pytest.raises(ConfigurationError, match="don't support"):
        drop_scratch(engine, ID, tmp_path)


def test_required_columns_outside_the_catalogue_do_not_keep_existing_rows_out(
    bare_destination: Engine,
) -> None:
    engine = bare_destination
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE sentry_option (id INTEGER PRIMARY KEY, key TEXT NOT NULL, value TEXT,"
            " kind VARCHAR(9) NOT NULL, weight INTEGER NOT NULL, since TIMESTAMP NOT NULL)"
        )
    record = Record("sentry.option", 3, {"key": "k", "value": 1})
    put(engine, [record])
    [there] = export_records(engine, scope=Scope.CONFIG)
    neutral = {"kind": "", "weight": 0, "since": "1970-01-01T00:00:00.000Z"}
    assert there == record._replace(fields=record.fields | neutral)


def test_what_a_killed_trial_left_is_found_and_goes_without_what_goes_on(
    destination: Engine, tmp_path: Path
) -> None:
    """B-8"""
    dead = str(uuid.uuid4())
    with scratch(destination, ID, tmp_path) as going_on:
        abandoned = scratch(destination, dead, tmp_path)
        abandoned.__enter__().engine.dispose()  # and its process dies here
        assert scratches(destination, tmp_path) == {ID, dead}
        drop_scratch(destination, dead, tmp_path)
        with going_on.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM auth_user")).scalar() == 0
        assert scratches(destination, tmp_path) == {ID}
        assert not list(tmp_path.glob(f"*{uuid.UUID(dead).hex}*"))


def test_what_only_looks_like_a_scratch_is_none(destination: Engine, tmp_path: Path) -> None:
    other = tmp_path / "relocation_scratch_notes.sqlite"
    other.write_text("somebody's")
    if destination.dialect.name == "postgresql":
        with destination.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA relocation_scratches")
    assert scratches(destination, tmp_path) == set()


@pytest.mark.parametrize(
    "odd",
    [
        {"password": None},
        {"last_password_change": "2999-01-01T00:00:00.000Z"},
        {"last_password_change": "yesterday"},
        {"is_staff": "yes", "is_superuser": 7},
        {"is_unclaimed": True, "is_password_expired": True},
    ],
    ids=str,
)
def test_a_value_that_the_import_overwrites_anyway_fails_no_trial(
    trial: Try, odd: dict[str, Any]
) -> None:
    records = [
        r._replace(fields=r.fields | odd) if r.model == "sentry.user" else r for r in EXAMPLE
    ]
    assert trial(records).findings == ()


def test_a_column_too_narrow_for_what_is_overwritten_anyway_is_no_misfit(
    trial: Try, destination: Engine
) -> None:
    if destination.dialect.name == "postgresql":
        with destination.begin() as connection:
            connection.execute(text("ALTER TABLE auth_user ALTER password TYPE varchar(60)"))
    records = [
        r._replace(fields=r.fields | {"password": "x" * 100}) if r.model == "sentry.user" else r
        for r in EXAMPLE
    ]
    assert trial(records).findings == ()

"""The tables of a destination: made, read back, and checked."""

import pytest
from destinations import Add
from sqlalchemy import Engine, create_mock_engine, event, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import ExecutableDDLElement

from relocation.catalogue import Scope, load_catalogue
from relocation.errors import PermanentError
from relocation.findings import FindingKind
from relocation.transfer.database.schema import (
    create_embedded,
    create_own_tables,
    embedded_tables,
    read_once,
    reflect,
)
from relocation.transfer.database.skew import check_schema, prevents_import

CATALOGUE = load_catalogue().newest()


def test_embedded_destination_has_a_table_for_every_model(destination: Engine) -> None:
    tables = reflect(destination, CATALOGUE.values())
    assert set(tables) == set(CATALOGUE)
    assert all(set(table.fields) == set(table.model.fields) for table in tables.values())
    assert inspect(destination).has_table("sentry_lostpasswordhash")


def test_tables_that_are_read_once_are_asked_for_once(destination: Engine) -> None:
    once = read_once(destination)
    before = reflect(once, CATALOGUE.values())
    with destination.begin() as connection:
        connection.execute(text("ALTER TABLE sentry_team ADD COLUMN colour VARCHAR(9)"))
    assert reflect(once, CATALOGUE.values())["sentry.team"].table is before["sentry.team"].table
    assert "colour" in reflect(destination, CATALOGUE.values())["sentry.team"].table.c
    assert "colour" in reflect(read_once(destination), CATALOGUE.values())["sentry.team"].table.c


def test_a_model_without_a_table_lets_no_table_be_read_again(destination: Engine) -> None:
    once, models = read_once(destination), load_catalogue().values()
    before = reflect(once, models)
    assert len(before) < len(models)
    statements = []

    @event.listens_for(once, "before_cursor_execute")
    def note(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        statements.append(sql)

    assert reflect(once, models) == before
    assert len([sql for sql in statements if not sql.startswith("BEGIN")]) == 1  # which there are


def test_creating_an_embedded_destination_again_keeps_its_rows(
    destination: Engine, add: Add
) -> None:
    add("sentry.organization", name="One", slug="one", status=0)
    create_embedded(destination)
    with destination.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sentry_organization")).scalar() == 1


def test_setting_up_again_brings_older_columns_up_to_date(destination: Engine, owner: int) -> None:
    """Embedded destinations were once made with the fields' names for columns."""
    with destination.begin() as connection:
        connection.execute(text("ALTER TABLE auth_user RENAME first_name TO name"))
        connection.execute(text("UPDATE auth_user SET name = 'Olga'"))
    create_embedded(destination)
    create_embedded(destination)
    with destination.connect() as connection:
        assert connection.execute(text("SELECT first_name FROM auth_user")).all() == [("Olga",)]


def test_own_tables_alone_leave_a_destination_otherwise_empty(bare_destination: Engine) -> None:
    create_own_tables(bare_destination)
    create_own_tables(bare_destination)
    assert set(inspect(bare_destination).get_table_names()) == {
        "relocation_import_chunk",
        "relocation_fence",
    }


def test_foreign_keys_stand_behind_real_references_only(destination: Engine) -> None:
    """S-5: hybrid and implicit references are plain numbers."""
    members = inspect(destination).get_foreign_keys("sentry_organizationmember")
    assert [key["constrained_columns"] for key in members] == [["organization_id"]]
    monitors = inspect(destination).get_foreign_keys("sentry_monitor")
    assert monitors == []


def test_a_reference_to_a_missing_row_is_refused(add: Add) -> None:
    with pytest.raises(IntegrityError):
        add("sentry.team", organization=404, name="Team", slug="team")


def test_every_reference_is_indexed(destination: Engine) -> None:
    inspector = inspect(destination)
    for model in CATALOGUE.values():
        indexed = {tuple(index["column_names"]) for index in inspector.get_indexes(model.table)}
        wanted = {(model.columns[field],) for field in model.foreign_keys}
        assert wanted <= indexed, model.name


def test_two_searches_of_one_name_may_exist_unless_they_are_global(
    add: Add,
) -> None:
    """The set (is_global, name) holds for global searches alone."""
    for _ in range(2):
        add("sentry.savedsearch", is_global=False, name="mine")
    add("sentry.savedsearch", is_global=True, name="everyone's")
    with pytest.raises(IntegrityError):
        add("sentry.savedsearch", is_global=True, name="everyone's")


def test_embedded_schema_can_be_made_on_postgresql() -> None:
    """Names stay within PostgreSQL's 63 characters and types are known to it."""
    statements: list[str] = []

    def keep(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine("postgresql+psycopg://", keep)
    embedded_tables().create_all(engine, checkfirst=False)
    tables = [one for one in statements if "CREATE TABLE" in one]
    assert len(tables) == len(CATALOGUE) + 1
    assert any("JSONB" in one for one in tables)


def test_a_table_that_is_missing_is_found(bare_destination: Engine) -> None:
    rule = CATALOGUE["sentry.rule"]
    findings = check_schema(reflect(bare_destination, [rule]), {rule.name: set(rule.fields)})
    assert [(one.kind, one.model) for one in findings] == [
        (FindingKind.MISSING_TABLE, "sentry.rule")
    ]
    assert prevents_import(findings[0])


@pytest.mark.parametrize(
    ("column", "field", "fatal"),
    [
        ("platform", "platform", False),  # optional: its values alone are lost
        ("slug", "slug", True),  # required
        ("organization_id", "organization", True),  # a reference that no project can be without
    ],
)
def test_a_column_that_is_missing_is_found(
    bare_destination: Engine, column: str, field: str, fatal: bool
) -> None:
    columns = {"id": "INTEGER PRIMARY KEY", "slug": "VARCHAR", "organization_id": "BIGINT"}
    columns["platform"] = "VARCHAR"
    del columns[column]
    made = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    with bare_destination.begin() as connection:
        connection.execute(text(f"CREATE TABLE sentry_project ({made})"))
    project = CATALOGUE["sentry.project"]
    tables = reflect(bare_destination, [project])
    findings = check_schema(tables, {project.name: {"slug", "organization", "platform"}})
    assert [(one.kind, one.field) for one in findings] == [(FindingKind.MISSING_COLUMN, field)]
    assert prevents_import(findings[0]) is fatal
    with pytest.raises(PermanentError, match=f"no column for sentry.project.{field}"):
        tables["sentry.project"].column(field)


def test_a_column_that_must_be_filled_and_is_not_in_the_export_is_found(
    bare_destination: Engine,
) -> None:
    with bare_destination.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE sentry_team (id INTEGER PRIMARY KEY, slug VARCHAR NOT NULL, "
                "mood VARCHAR NOT NULL, rank INTEGER NOT NULL DEFAULT 0, note VARCHAR)"
            )
        )
    team = CATALOGUE["sentry.team"]
    findings = check_schema(reflect(bare_destination, [team]), {team.name: {"slug"}})
    assert [(one.kind, one.field) for one in findings] == [(FindingKind.REQUIRED_COLUMN, "mood")]
    assert prevents_import(findings[0])


def test_a_fitting_destination_has_no_findings(destination: Engine) -> None:
    models = CATALOGUE.admitted(Scope.ORGANIZATION)
    used = {model.name: set(model.fields) for model in models}
    assert check_schema(reflect(destination, models), used) == []

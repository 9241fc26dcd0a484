"""Tables as a real version of the product has them: 23.7.1, by the facts of its models."""

import uuid
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from real_tables import exported_by_it, real_columns
from sqlalchemy import Engine, select, text

from relocation.catalogue import Field, FieldType, Model, load_catalogue
from relocation.errors import ConfigurationError
from relocation.findings import FindingKind
from relocation.transfer.compare.arrival import verify_import
from relocation.transfer.database.codec import decoder, encoder
from relocation.transfer.database.neutral import neutral_value
from relocation.transfer.database.rows import insert_rows
from relocation.transfer.database.schema import reflect, requires_value
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.claims import renew_claims
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import issue_claims
from relocation.transfer.source import RecordList

CATALOGUE = load_catalogue()
DATE = "2023-06-22T22:54:28.773Z"
VALUES: dict[FieldType, Any] = {
    FieldType.INTEGER: 3,
    FieldType.BIGINT: 2**31 - 1,
    FieldType.FLOAT: 1.5,
    FieldType.BOOLEAN: True,
    FieldType.DATETIME: DATE,
    FieldType.JSON: {"a": [1, None, "ü"]},
    FieldType.JSON_TEXT: '{"a": [1, null]}',
    FieldType.FLAGS: "5",
    FieldType.ARRAY: "['a', 'b']",
    FieldType.OPTION: '["a"]',
}
BY_TYPE = {
    "inet": "2001:db8::1",
    "uuid": "6b2c0f7e-1d4a-4c0c-8f6e-7d5b3a291817",
    "citext": "Ann@Example.org",
    "double precision[][]": "[[1.0, 2.5], [3.0, None]]",
}
KNOWN = [model for model in CATALOGUE.values() if model.table in real_columns()]


def value(model: Model, field: Field) -> Any:
    column = real_columns()[model.table][field.name]
    if field.type is FieldType.TEXT:
        plain = BY_TYPE.get(column.type, field.name[:3])
        return plain.replace("-", "") if field.length == 32 else plain
    return min(VALUES[field.type], 9) if column.type == "smallint" else VALUES[field.type]


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: model.name)
def test_every_type_of_a_real_column_is_written_and_read(
    real_template: Engine, model: Model
) -> None:
    table = reflect(real_template, [model])[model.name]
    given = {field: value(model, model.fields[field]) for field in table.fields}
    row = {
        table.column(field).name: encoder(model.fields[field], table.column(field))(one)
        for field, one in given.items()
    }
    unknown = {
        column.name: neutral_value(column)
        for column in table.table.columns
        if column.name not in {*row, "id"} and requires_value(column)
    }
    with real_template.connect() as connection:  # and nothing of it stays
        insert_rows(connection, table.table, [{"id": 1, **row, **unknown}])
        columns = [table.column(field) for field in table.fields]
        (stored,) = connection.execute(select(*columns)).all()
    read = {
        field: decoder(model.fields[field], column)(one)
        for field, column, one in zip(table.fields, columns, stored, strict=True)
    }
    assert read == given


def test_every_field_of_the_catalogue_finds_its_real_column(real_template: Engine) -> None:
    """The facts name the field of each column; a column of another name would stay empty."""
    tables = reflect(real_template, KNOWN)
    for model in KNOWN:
        told = real_columns()[model.table]
        there = {field for field in model.fields if field in told}
        assert there == set(tables[model.name].fields), model.name
        for field in there:
            assert tables[model.name].column(field).name == told[field].name


def test_an_export_arrives_in_the_real_tables(real: Engine) -> None:
    """`sentry.user.name` is the column first_name there, and owners are actors."""
    bind(real, "one", 1)
    report = import_records(real, exported_by_it(), relocation_id="one", fence=1)
    assert not [one for one in report.findings if one.kind is FindingKind.LOST_REFERENCE]
    assert report.inserted("sentry.user") == 4
    expected = {one.fields["name"] for one in exported_by_it().records("sentry.user")}
    with real.connect() as connection:
        names = connection.execute(text("SELECT first_name FROM auth_user"))
        assert {name for (name,) in names} == expected


def test_a_real_destination_without_what_later_steps_need_is_refused_before_anything_is_written(
    real: Engine,
) -> None:
    with real.begin() as connection:
        connection.execute(text("ALTER TABLE auth_user DROP COLUMN is_active"))
    bind(real, "one", 1)
    with pytest.raises(ConfigurationError, match=r"sentry\.user\.is_active") as refused:
        import_records(real, exported_by_it(), relocation_id="one", fence=1)
    assert "claim" in (refused.value.internal or "")
    with real.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM auth_user")).scalar() == 0


def test_a_product_without_a_mark_of_who_has_claimed_is_well(real: Engine, tmp_path: Path) -> None:
    """23.7.1 has no user.is_unclaimed: the password that the import wrote stands for it."""
    source = exported_by_it()
    nothing = RecordList([], CATALOGUE)
    trial = try_import(
        real,
        source,
        baseline=nothing,
        colliding=nothing,
        relocation_id=str(uuid.uuid4()),
        chunk_records=1000,
        folder=tmp_path,
    )
    assert trial.findings == ()
    bind(real, "one", 1)
    import_records(real, source, relocation_id="one", fence=1)
    assert verify_import(real, source, "one") == []
    claims = issue_claims(real, "one", 1, datetime.now(UTC))
    assert len(claims) == 4
    with real.begin() as connection:
        taken = text("UPDATE auth_user SET password = 'pbkdf2_sha256$1$a$b' WHERE id = :id")
        connection.execute(taken, {"id": claims[0].user_id})
    expected = {one.username: one.email for one in claims}
    again = renew_claims(real, "one", 1, expected, datetime.now(UTC))
    assert again.refused == {claims[0].username: "the account is claimed"}
    assert issue_claims(real, "one", 1, datetime.now(UTC)) != claims
    assert {one.username for one in again.claims} == {one.username for one in claims[1:]}


def test_a_password_that_was_kept_is_found_without_a_mark_too(real: Engine) -> None:
    source = exported_by_it()
    bind(real, "one", 1)
    import_records(real, source, relocation_id="one", fence=1)
    [first, *_] = source.records("sentry.user")
    with real.begin() as connection:
        kept = text("UPDATE auth_user SET password = :kept WHERE username = :name")
        name, password = first.fields["username"], first.fields["password"]
        connection.execute(kept, {"kept": password, "name": name})
    found = verify_import(real, source, "one")
    assert [(one.kind, one.field) for one in found] == [(FindingKind.USER_PASSWORD, "password")]


def test_the_tables_are_reflected_without_a_warning(real_template: Engine) -> None:
    """citext too, which SQLAlchemy knows only where it is on the search path."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        reflect(real_template, CATALOGUE.values())
    assert [str(one.message) for one in warned] == []

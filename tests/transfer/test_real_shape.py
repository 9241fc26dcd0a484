"""Tables as a real version of the product has them: 23.7.1, by the facts of its models."""

import warnings
from typing import Any

import pytest
from real_tables import exported_by_it, real_columns
from sqlalchemy import Engine, select, text

from relocation.catalogue import Field, FieldType, Model, load_catalogue
from relocation.errors import ConfigurationError
from relocation.findings import FindingKind
from relocation.transfer.database.codec import decoder, encoder
from relocation.transfer.database.neutral import neutral_value
from relocation.transfer.database.rows import insert_rows
from relocation.transfer.database.schema import reflect, requires_value
from relocation.transfer.load.importing import bind, import_records

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


def test_an_export_arrives_in_the_real_tables(newer: Engine) -> None:
    """`sentry.user.name` is the column first_name there, and owners are actors."""
    bind(newer, "one", 1)
    report = import_records(newer, exported_by_it(), relocation_id="one", fence=1)
    assert not [one for one in report.findings if one.kind is FindingKind.LOST_REFERENCE]
    assert report.inserted("sentry.user") == 4
    expected = {one.fields["name"] for one in exported_by_it().records("sentry.user")}
    with newer.connect() as connection:
        names = connection.execute(text("SELECT first_name FROM auth_user"))
        assert {name for (name,) in names} == expected


def test_a_real_destination_without_what_later_steps_need_is_refused_before_anything_is_written(
    real: Engine,
) -> None:
    """23.7.1 has no user.is_unclaimed: the claims, which come after the reveal, would fail."""
    bind(real, "one", 1)
    with pytest.raises(ConfigurationError, match=r"sentry\.user\.is_unclaimed") as refused:
        import_records(real, exported_by_it(), relocation_id="one", fence=1)
    assert "claim" in (refused.value.internal or "")
    with real.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM auth_user")).scalar() == 0


def test_the_tables_are_reflected_without_a_warning(real_template: Engine) -> None:
    """citext too, which SQLAlchemy knows only where it is on the search path."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        reflect(real_template, CATALOGUE.values())
    assert [str(one.message) for one in warned] == []

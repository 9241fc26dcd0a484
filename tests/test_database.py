"""What an engine promises whatever is behind it: bounded waits, and errors without rows."""

import socket
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Engine, MetaData, NullPool, Table, create_engine, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from relocation import database
from relocation.database import engine_options, prepare
from relocation.transfer.database.rows import insert_rows

SECRET = "pbkdf2_sha256$secret"
ROW = {"id": 1, "name": SECRET, "age": 7}


def open_postgres(url: URL) -> Engine:
    return prepare(create_engine(url, **engine_options("postgresql")))


@pytest.fixture
def people(postgres_server: URL) -> Iterator[Engine]:
    """A database whose one table refuses much."""
    name = f"people_{uuid.uuid4().hex}"
    options = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    with create_engine(postgres_server, **options).connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine = open_postgres(postgres_server.set(database=name))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR(40) UNIQUE,"
            " age INTEGER NOT NULL CHECK (age < 150), friend INTEGER REFERENCES people (id)"
            " DEFERRABLE INITIALLY DEFERRED, known JSON)"
        )
        connection.exec_driver_sql(
            "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'no %% here', NEW.name USING ERRCODE = 'unique_violation'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE FUNCTION run(said text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
            " EXECUTE said; END $$"
        )
        connection.exec_driver_sql("CREATE TABLE strangers (name TEXT)")
        connection.exec_driver_sql(
            "CREATE TRIGGER quote BEFORE INSERT ON strangers FOR EACH ROW EXECUTE FUNCTION quote()"
        )
        connection.exec_driver_sql("INSERT INTO people VALUES (0, 'nobody', 0)")
    yield engine
    engine.dispose()


REFUSED = {
    "a value that is there already": (
        "INSERT INTO people (id, name, age) VALUES (2, :value, 1), (3, :value, 1)",
        "people_name_key",
    ),
    "a row that fails a check": (
        "INSERT INTO people (id, name, age) VALUES (2, :value, 700)",
        "people_age_check",
    ),
    "a missing value": (
        "INSERT INTO people (id, name) VALUES (2, :value)",
        "table people, column age",
    ),
    "a reference that leads nowhere, found at the commit": (
        "INSERT INTO people (id, name, age, friend) VALUES (2, :value, 3, 4)",
        "people_friend_fkey",
    ),
    "a text that is no number": ("SELECT CAST(CAST(:value AS TEXT) AS INTEGER)", "22P02"),
    "a text that is no JSON": ("SELECT CAST(CAST(:value AS TEXT) AS JSON)", "22P02"),
    "a trigger that quotes what it refuses": (
        "INSERT INTO strangers (name) VALUES (:value)",
        "23505",
    ),
    "a query that a function makes of a value": ("SELECT run(:value)", "42601"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_of_the_database_says_where_and_never_what(people: Engine, case: str) -> None:
    statement, place = REFUSED[case]
    with pytest.raises(DBAPIError) as refused, people.begin() as connection:
        connection.execute(text(statement), {"value": SECRET})
    shown = "".join(traceback.format_exception(refused.value))
    assert place in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({**ROW, "name": SECRET * 3}, "table people, line 1, column name"),
        ({**ROW, "age": 151}, "people_age_check"),
        ({**ROW, "age": None}, "table people, line 1, column age"),
        ({**ROW, "name": "nobody"}, "people_name_key"),
    ],
)
def test_an_error_of_a_copy_says_where_and_never_what(
    people: Engine, row: dict[str, Any], place: str
) -> None:
    table = Table("people", MetaData(), autoload_with=people)
    with pytest.raises(DBAPIError) as refused, people.begin() as connection:
        insert_rows(connection, table, [row])
    shown = "".join(traceback.format_exception(refused.value))
    assert place in shown
    assert SECRET not in shown
    assert "nobody" not in shown


def test_what_tells_of_no_row_is_kept_word_for_word(people: Engine) -> None:
    with pytest.raises(DBAPIError, match='relation "nowhere" does not exist'):
        _select(people, "SELECT * FROM nowhere")
    with pytest.raises(DBAPIError, match="canceling statement due to statement timeout"):
        _select(people, "SET statement_timeout = 1", "SELECT pg_sleep(9)")


def test_a_class_of_error_stays_what_it_was(people: Engine) -> None:
    """Code catches IntegrityError, and asks whether the connection was lost."""
    table = Table("people", MetaData(), autoload_with=people)
    with pytest.raises(IntegrityError), people.begin() as connection:
        connection.execute(insert(table).values(id=0, age=1))


def _select(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit the driver waits for ever, and no time limit of a task reaches into it."""
    monkeypatch.setitem(database._LIBPQ_LIMITS, "connect_timeout", 2)  # the least that libpq knows
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = URL.create("postgresql+psycopg", "u", host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(OperationalError, match="timeout"):
            open_postgres(url).connect()


def test_a_vanished_server_is_noticed_within_a_minute(postgres_server: URL) -> None:
    chosen = _parameters(postgres_server)
    assert chosen["connect_timeout"] == "10"
    idle, interval, count = (
        int(chosen[f"keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 60
    assert int(chosen["tcp_user_timeout"]) <= 60_000


def test_limits_that_an_operator_chose_for_a_connection_hold(postgres_server: URL) -> None:
    url = postgres_server.update_query_dict({"connect_timeout": "33"})
    assert _parameters(url)["connect_timeout"] == "33"


def _parameters(url: URL) -> dict[str, str]:
    engine = open_postgres(url)
    with engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg.Connection)
        parameters = driver_connection.info.get_parameters()
    engine.dispose()
    return parameters

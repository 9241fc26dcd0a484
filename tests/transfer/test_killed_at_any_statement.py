"""Imports and roll backs that are killed at any statement and run again (I-11, B-7, W-14, W-22)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from destinations import Fate
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.model import RecordCounts
from relocation.transfer.database.schema import create_own_tables, embedded_tables
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.load.rollback import roll_back
from relocation.transfer.source import RecordList

Dying = Callable[[Engine, int], AbstractContextManager[Fate]]

pytestmark = [
    pytest.mark.deep,
    # What dies closes no cursor of the server's; a process that really ends has none to warn of.
    pytest.mark.filterwarnings("ignore:.*ServerCursor:pytest.PytestUnraisableExceptionWarning"),
]

DATE = "2023-06-22T22:54:28.773Z"
CHUNK = 2


TABLES = (
    "auth_user",
    "sentry_email",
    "sentry_lostpasswordhash",
    "sentry_organization",
    "sentry_organizationmember",
    "sentry_project",
    "sentry_projectkey",
    "sentry_projectteam",
    "sentry_projecttemplate",
    "sentry_team",
)


@pytest.fixture
def destination(bare_destination: Engine) -> Engine:
    """A destination with few tables: it is reflected hundreds of times."""
    metadata = embedded_tables()
    metadata.create_all(bare_destination, tables=[metadata.tables[name] for name in TABLES])
    create_own_tables(bare_destination)
    return bare_destination


def export(name: str) -> RecordList:
    """Return an export of one organization, with each way that a record can go."""
    address = f"{name}@example.org"
    person = {"username": name, "email": address, "is_active": True, "date_joined": DATE}
    teams = [(1, 5, "a"), (2, 5, "b"), (3, 5, "a"), (4, 404, "lost")]
    return RecordList(
        [
            Record("sentry.organization", 5, {"name": name, "slug": name, "status": 0}),
            Record("sentry.user", 7, person),
            Record("sentry.email", 3, {"email": address}),
            Record("sentry.email", 4, {"email": address.upper()}),
            *(
                Record(
                    "sentry.team",
                    pk,
                    {"organization": of, "name": slug, "slug": slug, "date_added": DATE},
                )
                for pk, of, slug in teams
            ),
            Record("sentry.project", 20, {"organization": 5, "name": "P", "slug": "p"}),
            Record("sentry.projectteam", 30, {"project": 20, "team": 2}),
            Record("sentry.projectteam", 31, {"project": 20, "team": 4}),
        ],
        load_catalogue(),
    )


def run(engine: Engine, name: str) -> ImportReport:
    bind(engine, name, 1)
    return import_records(engine, export(name), relocation_id=name, fence=1, chunk_records=CHUNK)


def picture(engine: Engine, name: str) -> dict[str, list[Any]]:
    """Return what an organization consists of, without its name, its keys and what is random."""
    queries = {
        "organization": "SELECT slug = :name, name = :name, status FROM sentry_organization"
        " WHERE slug LIKE :begin",
        "user": "SELECT username = :name, email = :name || '@example.org', is_unclaimed"
        " FROM auth_user WHERE username LIKE :begin",
        "email": "SELECT lower(email) = :name || '@example.org' FROM sentry_email"
        " WHERE lower(email) LIKE :begin",
        "team": "SELECT t.slug FROM sentry_team t JOIN sentry_organization o"
        " ON o.id = t.organization_id WHERE o.slug LIKE :begin ORDER BY t.id",
        "link": "SELECT p.slug, t.slug FROM sentry_projectteam l"
        " JOIN sentry_project p ON p.id = l.project_id JOIN sentry_team t ON t.id = l.team_id"
        " JOIN sentry_organization o ON o.id = p.organization_id WHERE o.slug LIKE :begin",
        "chunk": "SELECT model, chunk, read, inserted, merged, overwritten, skipped, dropped,"
        " first_pk, last_pk FROM relocation_import_chunk WHERE relocation_id = :name"
        " ORDER BY model, chunk",
    }
    given = {"name": name, "begin": f"{name}%"}
    with engine.connect() as connection:
        return {
            part: [tuple(row) for row in connection.execute(text(sql), given)]
            for part, sql in queries.items()
        }


def test_an_import_killed_at_any_statement_ends_as_if_undisturbed(
    destination: Engine, dying_at: Dying
) -> None:
    expected = run(destination, "whole")
    whole = picture(destination, "whole")
    assert expected.accounts["sentry.team"] == RecordCounts(
        read=4, inserted=2, skipped=1, dropped=1
    )
    assert expected.accounts["sentry.email"] == RecordCounts(read=2, inserted=1, merged=1)
    for number in range(1, 500):
        name = f"r{number}x"
        with dying_at(destination, number) as fate:
            run(destination, name)
        assert run(destination, name).accounts == expected.accounts, fate.statement
        assert picture(destination, name) == whole, fate.statement
        if not fate.statement:
            break
    assert 30 < number < 500
    assert picture(destination, "whole") == whole


def test_a_roll_back_killed_at_any_statement_ends_as_if_undisturbed(
    destination: Engine, dying_at: Dying
) -> None:
    run(destination, "other")
    other = picture(destination, "other")
    for number in range(1, 500):
        name = f"r{number}x"
        run(destination, name)
        with dying_at(destination, number) as fate:
            roll_back(destination, name, 1)
        roll_back(destination, name, 1)
        assert not any(picture(destination, name).values()), fate.statement
        if not fate.statement:
            break
    assert 30 < number < 500
    assert picture(destination, "other") == other


def test_an_import_that_follows_a_roll_back_cut_short_puts_back_what_it_took(
    destination: Engine, dying_at: Dying
) -> None:
    run(destination, "whole")
    whole = picture(destination, "whole")
    for number in range(1, 500, 5):
        name = f"r{number}x"
        run(destination, name)
        with dying_at(destination, number) as fate:
            roll_back(destination, name, 1)
        run(destination, name)
        assert picture(destination, name) == whole, fate.statement
        if not fate.statement:
            break
    assert 30 < number < 500

"""What a relocation inserted is removed again, exactly."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select

from relocation.catalogue import load_catalogue
from relocation.errors import FencedOut, PermanentError
from relocation.example import example_export
from relocation.transfer.chunks import IMPORT_CHUNK
from relocation.transfer.importing import bind, import_records
from relocation.transfer.ownership import grant_ownership, issue_claims, reveal_organizations
from relocation.transfer.rollback import roll_back
from relocation.transfer.schema import ModelTable
from relocation.transfer.source import RecordList

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Content = dict[str, list[Any]]


def content(engine: Engine, tables: dict[str, ModelTable]) -> Content:
    with engine.connect() as connection:
        found = {
            name: list(connection.execute(select(table.table).order_by(table.table.c.id)))
            for name, table in tables.items()
        }
        found["chunks"] = list(connection.execute(select(IMPORT_CHUNK)))
    return found


def relocate(engine: Engine, relocation_id: str = "one", fence: int = 1) -> None:
    source = RecordList(example_export(organizations=2), load_catalogue())
    bind(engine, relocation_id, fence)
    import_records(engine, source, relocation_id=relocation_id, fence=fence, chunk_records=20)


@pytest.fixture
def owner(add: Callable[..., int]) -> str:
    add(
        "sentry.user",
        username="olga",
        email="olga@example.org",
        password="!",
        is_active=True,
        is_staff=False,
        is_superuser=False,
        is_unclaimed=False,
        date_joined=NOW,
    )
    return "olga"


def test_a_roll_back_leaves_what_was_there_before(
    destination: Engine, tables: dict[str, ModelTable], owner: str
) -> None:
    """B-7: memberships and claim tokens of the hand-over go as well."""
    before = content(destination, tables)
    relocate(destination)
    grant_ownership(destination, "one", 1, owner)
    reveal_organizations(destination, "one", 1)
    assert issue_claims(destination, "one", 1, NOW)
    report = roll_back(destination, "one", 1)
    assert report.removed["sentry.organization"] == 2
    assert report.removed["sentry.user"] > 0
    assert content(destination, tables) == before


def test_another_relocation_s_rows_stay(destination: Engine, tables: dict[str, ModelTable]) -> None:
    relocate(destination, "one")
    before = content(destination, tables)
    relocate(destination, "two")
    roll_back(destination, "two", 1)
    assert content(destination, tables) == before


def test_what_a_person_added_since_is_named_and_nothing_is_removed(
    destination: Engine, tables: dict[str, ModelTable], add: Callable[..., int]
) -> None:
    relocate(destination)
    (organization, *_) = content(destination, tables)["sentry.organization"]
    add(
        "sentry.team",
        organization=organization.id,
        slug="added-since",
        name="Added since",
        status=0,
        date_added=NOW,
    )
    before = content(destination, tables)
    with pytest.raises(PermanentError, match=r"1 of sentry\.team"):
        roll_back(destination, "one", 1)
    assert content(destination, tables) == before


def test_a_roll_back_needs_the_newest_fence(
    destination: Engine, tables: dict[str, ModelTable]
) -> None:
    relocate(destination)
    bind(destination, "one", 2)
    before = content(destination, tables)
    with pytest.raises(FencedOut):
        roll_back(destination, "one", 1)
    assert content(destination, tables) == before


def test_rolling_back_twice_is_rolling_back_once(
    destination: Engine, tables: dict[str, ModelTable]
) -> None:
    before = content(destination, tables)
    relocate(destination)
    roll_back(destination, "one", 1)
    assert roll_back(destination, "one", 1).removed == {}
    assert content(destination, tables) == before


def test_an_import_after_a_roll_back_begins_anew(destination: Engine) -> None:
    relocate(destination)
    roll_back(destination, "one", 1)
    relocate(destination, fence=2)
    with destination.connect() as connection:
        organizations = load_catalogue()["sentry.organization"].table
        found = connection.exec_driver_sql(f"SELECT count(*) FROM {organizations}").scalar_one()
    assert found == 2


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(1, 200))
def test_a_roll_back_that_was_cut_goes_on(
    make_destination: Callable[[], Engine], tables: dict[str, ModelTable], at: int
) -> None:
    engine = make_destination()
    before = content(engine, tables)
    relocate(engine)
    left = at

    def cut(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise ConnectionError("killed")

    event.listen(engine, "before_cursor_execute", cut)
    try:
        roll_back(engine, "one", 1)
    except ConnectionError:
        pass
    finally:
        event.remove(engine, "before_cursor_execute", cut)
    roll_back(engine, "one", 1)
    assert content(engine, tables) == before

"""What is written to the ledger can always be stored, and comes back as it was."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import at
from sqlalchemy import Engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError

from relocation.ledger.column_types import BoundedText, UtcTime
from relocation.ledger.holds import open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.request import RelocationRequest

DIALECT = sqlite.dialect()
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


@given(ANY_TEXT)
def test_any_text_is_made_storable(text: str) -> None:
    stored = BoundedText(100).process_bind_param(text, DIALECT)
    assert stored is not None
    assert len(stored) <= 100
    assert "\0" not in stored
    stored.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100))
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert BoundedText(100).process_bind_param(text, DIALECT) == text


def test_a_text_that_is_too_long_keeps_both_ends() -> None:
    stored = BoundedText(50).process_bind_param("first" + "x" * 1000 + "last", DIALECT)
    assert stored is not None
    assert stored.startswith("first")
    assert stored.endswith("last")


def test_stored_text_keeps_its_white_space() -> None:
    """Two keys of the storage may differ by white space alone."""
    assert BoundedText(50).process_bind_param("a  b\n", DIALECT) == "a  b\n"


@given(st.datetimes(timezones=st.timezones()))
def test_times_come_back_in_utc(time: datetime) -> None:
    try:
        stored = UtcTime().process_bind_param(time, DIALECT)
    except OverflowError:
        return  # at the ends of the calendar there is no such time in UTC
    assert UtcTime().process_result_value(stored, DIALECT) == time.astimezone(UTC)


def test_a_time_of_another_zone_is_stored_as_the_same_moment(
    ledger: Engine, ask: Callable[..., RelocationRequest]
) -> None:
    here = datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=-7)))
    open_relocation(ledger, "r-1", ask(), at(here))
    created = get_relocation(ledger, "r-1").created_at
    assert created == here
    assert created.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(
    ledger: Engine, ask: Callable[..., RelocationRequest]
) -> None:
    with pytest.raises(StatementError, match="zone"):
        open_relocation(ledger, "r-1", ask(), at(datetime(2026, 3, 1)))  # noqa: DTZ001 - the point

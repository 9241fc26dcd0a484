"""Untrusted text is made safe to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.errors import MAX_REASON, PermanentError
from relocation.text import listed, one_line, time_left


@given(st.text(), st.integers(min_value=5, max_value=80))
def test_one_line_is_one_bounded_line(text: str, limit: int) -> None:
    line = one_line(text, limit=limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert "\0" not in line
    line.encode()


def test_both_ends_of_a_long_text_stay() -> None:
    assert one_line("a" * 50 + "b" * 50, limit=11) == "aaaa...bbbb"


def test_bidirectional_controls_are_removed() -> None:
    assert one_line("abc\u202etxt.exe", limit=50) == "abctxt.exe"


def test_a_long_list_says_how_many_more() -> None:
    assert listed(["a", "b", "c"], show=2) == "a, b and 1 more"
    assert listed(["a", "b"], show=2) == "a, b"


@given(st.text(min_size=1).filter(lambda text: one_line(text, limit=MAX_REASON)))
def test_a_reason_is_bounded_whatever_it_is_made_of(text: str) -> None:
    """W-4."""
    assert 0 < len(PermanentError(text * 400).reason) <= MAX_REASON


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (20, "less than a minute left"),
        (61, "about 1 minute left"),
        (3600, "about 1 hour left"),
        (2 * 3600 + 185, "about 2 hours and 3 minutes left"),
    ],
)
def test_the_time_left_is_said_in_hours_and_minutes(seconds: float, said: str) -> None:
    assert time_left(seconds) == said

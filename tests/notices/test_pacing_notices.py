"""A limit of messages a minute is kept, evenly, and without a limit nobody waits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.delivery.context import Pace


def test_turns_come_one_gap_after_the_other() -> None:
    pace = Pace(60)
    assert [pace.wait(0.0), pace.wait(0.0), pace.wait(0.5)] == [0.0, 1.0, 1.5]


def test_a_pause_earns_no_burst() -> None:
    pace = Pace(60)
    assert [pace.wait(0.0), pace.wait(100.0), pace.wait(100.0)] == [0.0, 0.0, 1.0]


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(0)
    assert [pace.wait(1.0), pace.wait(1.0)] == [0.0, 0.0]


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.floats(0, 30), min_size=1, max_size=80),
)
def test_no_minute_has_more_than_its_number(per_minute: int, steps: list[float]) -> None:
    pace, now, turns = Pace(per_minute), 0.0, []
    for step in steps:
        now += step
        turns.append(now + pace.wait(now))
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
    assert all(gap == pytest.approx(60 / per_minute) or gap > 60 / per_minute for gap in gaps)

"""How many relocations a day begins, by the size of their archives."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from ledgers import at
from sqlalchemy import Engine

from relocation.errors import PermanentError
from relocation.ledger.admission import admit
from relocation.ledger.holds import hold_of, open_relocation
from relocation.request import RelocationRequest
from relocation.settings import DailyLimits, Settings
from relocation.steps import Step

MIB = 1024**2


@pytest.fixture
def begin(
    ledger: Engine, ask: Callable[..., RelocationRequest]
) -> Callable[[str, int, datetime], None]:
    """Begin a relocation with an archive of this size."""
    limits = DailyLimits(small=1, medium=2)

    def relocate(name: str, size: int, now: datetime) -> None:
        hold = hold_of(open_relocation(ledger, name, ask(name), at(now)))
        sizes, limit = limits.of(size)
        admit(ledger, hold, size, sizes=sizes, limit=limit, now=now)

    return relocate


def test_a_second_small_one_in_a_day_is_refused(begin: Callable[..., None], now: datetime) -> None:
    """R-30, A-128."""
    begin("r-1", 1, now)
    with pytest.raises(PermanentError, match="The daily limit"):
        begin("r-2", 10 * MIB - 1, now + timedelta(hours=23))


def test_another_size_is_counted_apart(begin: Callable[..., None], now: datetime) -> None:
    begin("r-1", 1, now)
    begin("r-2", 10 * MIB, now)
    begin("r-3", 100 * MIB - 1, now)
    begin("r-4", 100 * MIB, now)
    with pytest.raises(PermanentError):
        begin("r-5", 50 * MIB, now)


def test_a_day_and_a_minute_later_there_is_room(begin: Callable[..., None], now: datetime) -> None:
    begin("r-1", 1, now)
    begin("r-2", 1, now + timedelta(days=1, minutes=1))


def test_what_was_refused_does_not_count(begin: Callable[..., None], now: datetime) -> None:
    begin("r-1", 1, now)
    with pytest.raises(PermanentError):
        begin("r-2", 1, now + timedelta(hours=20))
    begin("r-3", 1, now + timedelta(hours=25))


def test_a_rerun_does_not_count_against_itself(begin: Callable[..., None], now: datetime) -> None:
    begin("r-1", 1, now)
    begin("r-1", 1, now + timedelta(minutes=5))


def test_there_is_no_limit_unless_one_is_set() -> None:
    assert Settings(_env_file=None).daily_limits.of(1) == (range(10 * MIB), None)


def test_a_new_relocation_pauses_where_the_settings_say(
    ledger: Engine, ask: Callable[..., RelocationRequest], now: datetime
) -> None:
    """R-31, A-129."""
    opened = open_relocation(ledger, "r-1", ask(), at(now), pause_before=Step.IMPORTING)
    assert opened.pause_before_step is Step.IMPORTING


def test_the_step_before_which_new_ones_pause_is_set_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RELOCATION_PAUSE_BEFORE", "IMPORTING")
    assert Settings().pause_before is Step.IMPORTING

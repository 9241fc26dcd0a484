"""A start is one moment to come, or is refused with what to write instead."""

from datetime import UTC, datetime

import pytest

from relocation.cli.start_time import read_start
from relocation.errors import RequestError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-03-01T22:00", "Europe/Berlin", datetime(2026, 3, 1, 21, tzinfo=UTC)),
        ("2026-07-01T22:00", "Europe/Berlin", datetime(2026, 7, 1, 20, tzinfo=UTC)),  # in summer
        ("2026-03-01T22:00+05:30", None, datetime(2026, 3, 1, 16, 30, tzinfo=UTC)),
        ("2026-03-01T22:00:30Z", None, datetime(2026, 3, 1, 22, 0, 30, tzinfo=UTC)),
        ("2026-03-01 22:00", "Etc/UTC", datetime(2026, 3, 1, 22, tzinfo=UTC)),
    ],
)
def test_a_start_means_one_moment(text: str, zone: str | None, moment: datetime) -> None:
    assert read_start(text, zone, NOW) == moment


def test_a_start_without_a_zone_is_in_this_machines() -> None:
    wanted = datetime(2026, 3, 5, 22).astimezone()
    assert read_start("2026-03-05T22:00", None, NOW) == wanted


@pytest.mark.parametrize(
    ("text", "zone", "told"),
    [
        ("tonight", None, "no time"),
        ("", None, "no time"),
        ("2026-03-02", None, "a day without a time"),
        ("2026-03-01T11:59Z", None, "past"),
        ("2026-03-01T12:00Z", None, "past"),
        ("2027-03-02T12:00Z", None, "more than a year"),
        ("2026-03-02T22:00", "Europe/Atlantis", "no such time zone"),
        ("2026-03-02T22:00", "../etc/passwd", "no such time zone"),
        ("2026-03-02T22:00Z", "Europe/Berlin", "an offset already"),
        ("2026-03-29T02:30", "Europe/Berlin", "Clocks change"),  # skipped
        ("2026-10-25T02:30", "Europe/Berlin", "Clocks change"),  # twice
    ],
)
def test_a_start_that_is_none_is_refused(text: str, zone: str | None, told: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_start(text, zone, NOW)
    assert told in refused.value.reason

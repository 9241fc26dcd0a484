"""Read the time at which a relocation shall start."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relocation.errors import RequestError

LATEST = timedelta(days=365)


def read_start(text: str, zone: str | None, now: datetime) -> datetime:
    """Return the moment that an ISO time means, in a named time zone or in this machine's.

    Raises RequestError, which says what is wrong, for what is no time, is past or over a year away,
    and for a time that the zone skips or has twice.
    """
    try:
        wanted = datetime.fromisoformat(text.strip())
    except ValueError as err:
        raise RequestError(
            "The start is no time. Write it like 2026-03-01T22:00, with an offset like +01:00 "
            "or with --time-zone where it is not this machine's."
        ) from err
    if len(text.strip()) <= len("2026-03-01"):
        raise RequestError("The start is a day without a time. Write it like 2026-03-01T22:00.")
    if wanted.tzinfo is None:
        wanted = _in_zone(wanted, zone)
    elif zone is not None:
        raise RequestError("The start has an offset already; leave --time-zone away.")
    if wanted <= now:
        raise RequestError(f"The start is past: {_shown(wanted)}. It is {_shown(now)} now.")
    if wanted > now + LATEST:
        raise RequestError(f"The start is more than a year away: {_shown(wanted)}.")
    return wanted


def _in_zone(naive: datetime, zone: str | None) -> datetime:
    try:
        named = ZoneInfo(zone) if zone else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise RequestError("There is no such time zone. Name one like Europe/Berlin.") from err

    def place(fold: int) -> datetime:
        time = naive.replace(fold=fold)
        return time.replace(tzinfo=named) if named else time.astimezone()

    # The two readings of a local time differ only where clocks change.
    first, second = place(0).utcoffset(), place(1).utcoffset()
    if first != second:
        raise RequestError(
            f"Clocks change around {naive:%Y-%m-%dT%H:%M}: it does not say one moment. "
            "Write it with its offset, like +01:00."
        )
    return place(0)


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

"""Make untrusted text safe to show on one line."""

import unicodedata

_CUT = "..."


def one_line(text: str, *, limit: int, keep: str = "") -> str:
    """Collapse white space, drop control and bidirectional characters, and cut in the middle.

    The result has at most `limit` characters. Both ends of a long text stay, since names and slugs
    often differ only at their end. Characters in `keep` are never dropped.
    """
    visible = "".join(
        " " if char.isspace() else char
        for char in text
        if char in keep
        or char.isspace()
        or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
    line = " ".join(visible.split())
    if len(line) <= limit:
        return line
    kept = limit - len(_CUT)
    head = (kept + 1) // 2
    return line[:head] + _CUT + line[len(line) - (kept - head) :]


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return the number with its noun: "1 member", "1,204 members"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(items: list[str], *, show: int = 10) -> str:
    """Join a list for a sentence, with "and N more" past `show` items."""
    shown = [one_line(item, limit=60) for item in items[:show]]
    rest = len(items) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def time_left(seconds: float) -> str:
    """Say about how long something will still take: "about 3 minutes left"."""
    minutes = round(seconds / 60)
    if not minutes:
        return "less than a minute left"
    hours, minutes = divmod(minutes, 60)
    parts = [counted(hours, "hour")] * bool(hours) + [counted(minutes, "minute")] * bool(minutes)
    return f"about {' and '.join(parts)} left"

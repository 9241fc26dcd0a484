"""Where the Prefect server of `up` is, recorded for the commands of other terminals."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FILE = "address"


@contextmanager
def recorded(home: Path, url: str) -> Iterator[None]:
    """Keep the address in `home` for as long as the `with` block lasts."""
    file = home / _FILE
    file.write_text(f"{url}\n", encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def recorded_address(home: Path) -> str | None:
    """Return the address recorded in `home`; of a service that was killed, one that is dead."""
    try:
        return (home / _FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None

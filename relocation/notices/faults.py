"""Say of an error what operators may read in a mail: its class and its place, and no data.

The words of an error can hold a row, an address or a secret: those of a driver or a parser are left
out, and only what is known to be free of them is kept.
"""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from relocation.errors import MAX_REASON, ConfigurationError, RelocationError, TransientError
from relocation.text import one_line

INTERRUPTED = "Interrupted: its process ended before it was done"
UNEXPLAINED = "Unexplained: its flow run ended, and nothing says why"

_ROOT = Path(__file__).parents[2]
_OURS = tuple(str(_ROOT / name) for name in ("flows", "tasks", "relocation"))
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")
_LINKS = 3
"""Most errors of a chain of causes that are told."""


def fault_of(error: BaseException) -> str:
    """Return the class of an error, what may be told of it and of its causes, and its place.

    One line that begins with the class and a colon.
    """
    chain = list(_chain(error))[:_LINKS]
    first, *causes = [_told(link) for link in chain]
    kind, detail = first
    told = [f"{kind}: {detail}" if detail else f"{kind}:"]
    told += [f"caused by {kind}" + (f": {detail}" if detail else "") for kind, detail in causes]
    place = _place(chain[-1]) or _place(error)
    line = "; ".join([*told, *([place] if place else [])]).replace(":;", ":")
    return one_line(_LOGIN.sub("***@", line), limit=MAX_REASON)


def kind_of(fault: str) -> str:
    """Return the class of error that a fault begins with."""
    return fault.partition(":")[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def _told(error: BaseException) -> tuple[str, str]:
    match error:
        case ConfigurationError() | TransientError():
            return type(error).__name__, error.internal or error.reason
        case RelocationError():
            return type(error).__name__, error.reason
        case DBAPIError() if error.orig is not None:
            code = getattr(error.orig, "sqlstate", None)
            code = code or getattr(error.orig, "sqlite_errorname", None) or ""
            return type(error.orig).__name__, str(code)
        case OSError():
            return type(error).__name__, error.strerror or ""
        case _:
            return type(error).__name__, ""


def _place(error: BaseException) -> str:
    """Return where in our own code an error came from last."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename.startswith(_OURS):
            return f"at {Path(frame.filename).relative_to(_ROOT)}:{frame.lineno} in {frame.name}"
    return ""

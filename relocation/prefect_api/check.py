"""One thing that the doctor looks at."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from relocation.errors import RelocationError


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    good: bool
    detail: str
    remedy: str = ""
    """Where it is good, it is a warning."""

    def as_json(self) -> dict[str, Any]:
        """Return the check as plain JSON data."""
        return asdict(self)


Probe = tuple[str, Callable[[], str], str]
"""A name, what looks and returns what it saw, and the remedy."""


class WarningError(Exception):
    """What was looked at works, and misleads people; the message says how."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class FailedCheckError(Exception):
    """What was looked at does not work; the message says how."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def check(what: str, look: Callable[[], str], remedy: str) -> Check:
    """Look, and turn what went wrong into a line; never raises."""
    try:
        return Check(what, good=True, detail=look())
    except WarningError as err:
        return Check(what, good=True, detail=str(err), remedy=err.remedy or remedy)
    except FailedCheckError as err:
        return Check(what, good=False, detail=str(err), remedy=err.remedy or remedy)
    except RelocationError as err:
        return Check(what, good=False, detail=err.internal or err.reason, remedy=remedy)
    except Exception as err:  # noqa: BLE001 - whatever is wrong is what was asked for
        first_line = str(err).partition("\n")[0]
        return Check(what, False, f"{type(err).__name__}: {first_line}", remedy)

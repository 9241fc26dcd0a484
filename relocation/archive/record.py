"""One element of an export."""

from typing import Any, NamedTuple


class Record(NamedTuple):
    """A row as the export writes it (T-11)."""

    model: str
    pk: int
    fields: dict[str, Any]

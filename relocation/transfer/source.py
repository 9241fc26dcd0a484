"""Where records come from, model by model."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from relocation.archive.record import Record


class Source(Protocol):
    """Records grouped by model, in dependency order, readable more than once."""

    def models(self) -> Sequence[str]:
        """Return the names of the models that have records, in dependency order."""

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model, each made anew: it is the reader's to change."""


class RecordList:
    """A source of few records, held in memory."""

    def __init__(self, records: Iterable[Record], order: Iterable[str]) -> None:
        grouped: dict[str, list[Record]] = {}
        for record in records:
            grouped.setdefault(record.model, []).append(record)
        self._grouped = {model: grouped[model] for model in order if model in grouped}

    def models(self) -> Sequence[str]:
        """Return the names of the models that have records."""
        return list(self._grouped)

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model."""
        for record in self._grouped.get(model, ()):
            yield record._replace(fields=dict(record.fields))

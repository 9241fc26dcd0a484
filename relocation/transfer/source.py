"""Where records come from, model by model."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from relocation.archive.records import Record

_VALUE_BYTES = 64


class Source(Protocol):
    """Records grouped by model, in dependency order, readable more than once."""

    def models(self) -> Sequence[str]:
        """Return the names of the models that have records, in dependency order."""

    def records(self, model: str) -> Iterator[Record]:
        """Stream the records of one model, each made anew: it is the reader's to change."""


class Portion(NamedTuple):
    """Records that are read together."""

    records: list[Record]
    weight: int
    """About how many bytes they take in memory: little, except where a single one takes more."""


class PortionedSource(Source, Protocol):
    """A source that says how much memory its records take, before they pile up."""

    def portions(self, model: str) -> Iterator[Portion]:
        """Stream the records of one model in portions."""


def weigh(text: bytes) -> int:
    """Return about how many bytes the values take in memory that this JSON text stands for."""
    return len(text) + _VALUE_BYTES * (text.count(b",") + text.count(b"[") + text.count(b"{"))


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

    def portions(self, model: str) -> Iterator[Portion]:
        """Stream the records of one model, each a portion of its own."""
        for record in self.records(model):
            yield Portion([record], len(repr(record.fields)))

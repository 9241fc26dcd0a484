"""The records that a scan leaves out, each by its primary key and its cause (B-4).

A file of millions of records may be moved in small part only: what is not moved is kept as ranges
of primary keys, which rise in an export, and is told one by one on demand.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from relocation.findings import Finding, FindingKind

REASONS: Final[Mapping[FindingKind, str]] = {
    FindingKind.NOT_REQUESTED: "It does not belong to a requested organization.",
    FindingKind.OUT_OF_SCOPE: "A relocation of organizations does not include such records.",
    FindingKind.REPEATED_RECORD: "An earlier record of the model has the same primary key.",
    FindingKind.REMOVED_MODEL: "The model no longer exists.",
    FindingKind.UNKNOWN_MODEL: "This version does not know the model.",
}


class Ranges:
    """Primary keys, as ranges in the order they were added."""

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pk: int) -> None:
        """Add a primary key."""
        self._count += 1
        if self._ranges and self._ranges[-1][1] == pk - 1:
            self._ranges[-1][1] = pk
        else:
            self._ranges.append([pk, pk])

    def as_text(self) -> str:
        """Return the ranges as text, like `1..5,9`."""
        return ",".join(
            str(first) if first == last else f"{first}..{last}" for first, last in self._ranges
        )


class LeftOut:
    """Take in what is left out, by model and cause."""

    def __init__(self) -> None:
        self._pks: dict[str, dict[FindingKind, Ranges]] = {}

    def add(self, model: str, kind: FindingKind, pk: int) -> None:
        """Take in one record."""
        kinds = self._pks.get(model)
        if kinds is None:
            kinds = self._pks[model] = {}
        ranges = kinds.get(kind)
        if ranges is None:
            ranges = kinds[kind] = Ranges()
        ranges.add(pk)

    def counts(self) -> dict[str, dict[FindingKind, int]]:
        """Return how many records were left out, by model and cause."""
        return {
            model: {kind: len(ranges) for kind, ranges in kinds.items()}
            for model, kinds in self._pks.items()
        }

    def as_json(self) -> dict[str, dict[str, str]]:
        """Return it as plain JSON data, for the facts of a normalised form."""
        return {
            model: {kind.value: ranges.as_text() for kind, ranges in kinds.items()}
            for model, kinds in self._pks.items()
        }


def left_out(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Tell, from the facts of a normalised form, of each record that was left out and why."""
    for model, kinds in facts["left_out"].items():
        for name, ranges in kinds.items():
            kind = FindingKind(name)
            for part in ranges.split(","):
                first, _, last = part.partition("..")
                for pk in range(int(first), int(last or first) + 1):
                    yield Finding(kind, model, REASONS[kind], pk=pk)

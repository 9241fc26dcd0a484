"""Collect made-up records: their primary keys, their clock, their random values."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson

from relocation.archive.records import Record
from relocation.catalogue import FieldType, Model, load_catalogue

SNOWFLAKE = 4_500_000_000_000_000
"""Where primary keys of newer organizations, projects and teams begin (T-14)."""

_BLANKS: dict[FieldType, Any] = {
    FieldType.BOOLEAN: False,
    FieldType.FLAGS: "0",
    FieldType.ARRAY: "[]",
    FieldType.JSON: {},
}


@dataclass(frozen=True)
class Organization:
    """What the records below an organization point at."""

    pk: int
    slug: str
    newer: bool
    owner: int
    teams: list[int]
    environments: list[int]


class Export:
    """The records so far; the same calls with the same seed give the same ones."""

    def __init__(self, seed: int) -> None:
        self.addresses: dict[int, str] = {}
        """The address of each user, by primary key."""
        self._random = Random(seed)  # noqa: S311 - no secret is made of it
        self._clock = datetime(2024, 3, 4, 9, 0, tzinfo=UTC)
        self._rows: dict[str, list[Record]] = {model: [] for model in load_catalogue()}
        self._blanks: dict[str, dict[str, Any]] = {}
        self._dates: dict[str, list[str]] = {}

    def add(self, model: str, *, newer: bool = False, **values: Any) -> int:
        """Add a record and return its primary key; fields not given are blank, `date_*` is now."""
        if model not in self._blanks:
            self._blanks[model] = _blank(load_catalogue()[model])
            self._dates[model] = [name for name in self._blanks[model] if name.startswith("date_")]
        blank = self._blanks[model]
        fields = blank | dict.fromkeys(self._dates[model], self.now()) | values
        if len(fields) != len(blank):
            raise ValueError(f"{model} has no field {sorted(fields.keys() - blank.keys())}")
        rows = self._rows[model]
        last = rows[-1].pk if rows else self._random.randrange(10, 400)
        if newer:
            last = max(last, SNOWFLAKE)
        pk = last + self._random.choice((1, 1, 2, 5))
        rows.append(Record(model, pk, fields))
        return pk

    def now(self, *, days: int = 0) -> str:
        """Return a time a little later than the last, or days after it, as 1.3 writes it."""
        time = self._clock + timedelta(days=days)
        self._clock += timedelta(milliseconds=250)
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def hex(self, length: int = 32) -> str:
        """Return random hex digits."""
        return f"{self._random.getrandbits(4 * length):0{length}x}"

    def uuid(self) -> str:
        """Return a random UUID, dashed."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def records(self) -> list[Record]:
        """Return all records, by model in dependency order."""
        return [record for rows in self._rows.values() for record in rows]


def json_text(value: Any) -> str:
    """Return a value as JSON in a string, as options and rule data hold it (1.3)."""
    return orjson.dumps(value).decode()


def _blank(model: Model) -> dict[str, Any]:
    return {
        name: None if name in model.foreign_keys else _BLANKS.get(field.type)
        for name, field in model.fields.items()
    }

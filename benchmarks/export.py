"""Make up exports of any size, record by record: `python -m benchmarks.export 100000 export.json`.

100,000 records are about 20 MB: 1% are users, 20% projects, 20% project keys, 30% project options,
and the rest are of 28 other models. Unlike the example's, a record costs no memory.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.export_fields import Fields, Shape
from benchmarks.export_models import MODELS
from relocation.archive.records import Record
from relocation.catalogue import FieldType, load_catalogue
from relocation.example import write_export

_BLANKS: dict[FieldType, Any] = {
    FieldType.BOOLEAN: False,
    FieldType.FLAGS: "0",
    FieldType.ARRAY: "[]",
    FieldType.JSON: {},
}


def organization_slugs(count: int) -> list[str]:
    """Return the slugs of the organizations in an export of `count` records."""
    return [f"tenant-{number}" for number in range(_shape(count).sizes["sentry.organization"])]


def make_records(count: int) -> Iterator[Record]:
    """Yield about `count` records (at least 2,000), by model in dependency order, always the same.

    Every record can be imported, and belongs to one of the organizations of `organization_slugs`.
    """
    shape = _shape(count)
    for name, model in load_catalogue().items():
        if name not in MODELS:
            continue
        blank: Fields = {
            field.name: None if field.name in model.foreign_keys else _BLANKS.get(field.type)
            for field in model.fields.values()
        }
        dates = [field for field in blank if field.startswith("date_")]
        make = MODELS[name][1]
        for number in range(shape.sizes[name]):
            made = make(shape, number)
            fields = blank | dict.fromkeys(dates, shape.now()) | made
            if len(fields) != len(blank):
                raise ValueError(f"{name} has no field {sorted(made.keys() - blank.keys())}")
            yield Record(name, shape.pk(number), fields)


def _shape(count: int) -> Shape:
    return Shape(count, {name: share for name, (share, _) in MODELS.items()})


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as file:
        write_export(make_records(int(sys.argv[1])), file)

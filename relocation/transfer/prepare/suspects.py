"""What looks like an id inside a value, in a place where an import changes none."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

from relocation.archive.records import Record
from relocation.catalogue import FieldType, load_catalogue
from relocation.findings import Finding, FindingKind
from relocation.text import one_line
from relocation.transfer.inner_ids import has_places, point_inside

_HOLDING: Final = frozenset({FieldType.JSON, FieldType.JSON_TEXT, FieldType.OPTION})
_KEY = re.compile(
    r"(.*[_.-])?(id|ids|pk)|.*[a-z](Id|ID)s?"
    r"|(project|team|user|member|owner|actor|organization|environment|integration|rule|monitor)s?"
)
_ID = re.compile(r"[1-9][0-9]{0,18}|(team|user):[1-9][0-9]{0,18}")
_DIGIT = re.compile(r"[0-9]")
_DEPTH: Final = 20
"""Levels of a value that are looked into: those of the product have fewer."""
_MOST: Final = 200
"""Most places that are told one by one."""


class Suspects:
    """Take in records, and tell of ids in unknown places."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], tuple[int, int]] = {}
        """By model, field and path: the first record and the number of them."""

    def look(self, model: str, records: Sequence[Record]) -> None:
        """Look into the values of records of one model that is in the catalogue."""
        for field in _fields(model):
            for record in records:
                value = record.fields.get(field)
                if value and isinstance(value, (dict, list, str)):
                    self._note(model, field, record, value)

    def findings(self) -> Iterator[Finding]:
        """Tell of each place, with the number of records that have something there."""
        for (model, field, path), (pk, count) in sorted(self._seen.items()):
            where = "1 record" if count == 1 else f"{count} records"
            reason = (
                f"What looks like an id at {path} was left unchanged in {where}: it may refer to "
                "something else in the destination."
            )
            yield Finding(FindingKind.UNKNOWN_ID, model, reason, field=field, pk=pk)

    def _note(self, model: str, field: str, record: Record, value: Any) -> None:
        if isinstance(value, str) and not (value[:1] in {"{", "["} and _DIGIT.search(value)):
            return
        if has_places(model):
            known = dict(record.fields)
            point_inside(model, known, lambda _to, _pk: "known")
            value = known[field]
        if isinstance(value, str):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        for path in set(_paths(value)):
            name = (model, field, path)
            first, count = self._seen.get(name, (record.pk, 0))
            if count or len(self._seen) < _MOST:
                self._seen[name] = (first, count + 1)


@cache
def _fields(model: str) -> tuple[str, ...]:
    fields = load_catalogue()[model].fields
    return tuple(name for name, field in fields.items() if field.type in _HOLDING)


def _paths(value: Any) -> Iterator[str]:
    """Yield where something looks like an id: a key that says so, and a value that can be one."""
    stack = [("", value, False, 0)]
    while stack:
        path, one, named, depth = stack.pop()
        if isinstance(one, dict) and depth < _DEPTH:
            for key, item in one.items():
                name = one_line(key, limit=40)
                below = f"{path}.{name}" if path else name
                stack.append((below, item, _KEY.fullmatch(key) is not None, depth + 1))
        elif isinstance(one, list) and depth < _DEPTH:
            stack.extend((f"{path}[]", item, named, depth + 1) for item in one)
        elif named and path and _is_id(one):
            yield path


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return _ID.fullmatch(value) is not None
    return type(value) is int and value > 0

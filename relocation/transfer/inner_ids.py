"""Ids inside the values of a record: find those of the known places, and put others there."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from relocation.catalogue.places import EACH, Lost, Place, matches, places_of

Find = Callable[[str, int], Any]
"""Returns what stands for the id of a model; None where nothing does."""

_ID = re.compile(r"[1-9][0-9]{0,18}")
_PROJECT_TERM = re.compile(
    r"""(?<![\w.])(?P<key>project(?:\.id|_id):)(?P<ids>\[[\d,\s]*\]|"?\d+"?(?![\w.:-]))"""
)
_NUMBER = re.compile(r"\d+")
_GONE: Final = object()


@dataclass(frozen=True)
class LostId:
    """An id that nothing stands for."""

    field: str
    to: str
    id: int
    fatal: bool = False
    """Whether the record says nothing without it."""


def has_places(model: str) -> bool:
    """Tell whether ids lie inside the values of a model."""
    return bool(places_of(model))


def point_inside(model: str, fields: dict[str, Any], find: Find) -> list[LostId]:
    """Put what `find` returns into the known places of a record; return the ids that were lost.

    A lost id becomes the nobody of its place. The form of an id (number or text) stays, and text
    that holds JSON is written anew only where something in it changed. Values are not changed in
    place: others may hold them too.
    """
    pointing = _Pointing(find)
    for field, places in places_of(model).items():
        value = fields.get(field)
        fitting = [one for one in places if one.within or matches(one, fields)]
        if value and fitting:
            with suppress(RecursionError):  # what is nested so deep is no value of these fields
                fields[field] = pointing.value(deepcopy(value), fitting)
    return pointing.lost


class _Pointing:
    """One record's ids on their way."""

    def __init__(self, find: Find) -> None:
        self.lost: list[LostId] = []
        self._find = find
        self._changed = False

    def value(self, value: Any, places: list[Place]) -> Any:
        """Return the value of a field with other ids; a structure is changed in place."""
        for place in places:
            if place.search:
                value = self._search(value, place)
            elif not place.path:
                return self._one(value, place)  # what it is now, no other place must take up
            elif isinstance(value, str):
                return self._text(value, places)
            else:
                self._inside(value, place)
        return value

    def _text(self, text: str, places: list[Place]) -> str:
        self._changed = False
        with suppress(ValueError):  # no JSON
            parsed = json.loads(text)
            if not isinstance(parsed, str):
                self.value(parsed, places)
            if self._changed:
                return json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))
        return text

    def _inside(self, value: Any, place: Place) -> None:
        removed = []
        for holder, key in list(_slots(value, place.path)):
            if isinstance(holder, dict) and not matches(place, holder):
                continue
            new = self._one(holder[key], place)
            if new is _GONE:
                removed.append((holder, key))
            else:
                holder[key] = new
        for holder, key in reversed(removed):
            del holder[key]

    def _search(self, value: Any, place: Place) -> Any:
        if not isinstance(value, str):
            return value

        def rename(term: re.Match[str]) -> str:
            ids = _NUMBER.sub(lambda number: str(self._one(int(number[0]), place)), term["ids"])
            return f"{term['key']}{ids}"

        return _PROJECT_TERM.sub(rename, value)

    def _one(self, value: Any, place: Place) -> Any:
        """Return what stands for the id in one place; what is no id stays as it is."""
        is_text = isinstance(value, str) and _ID.fullmatch(value) is not None
        if not is_text and (type(value) is not int or value == 0):
            return value
        found = self._find(place.to, int(value))
        if found is None:
            fatal = place.lost is Lost.RECORD
            self.lost.append(LostId(place.field, place.to, int(value), fatal))
            self._changed = True
            return _NOBODY[place.lost]
        self._changed |= found != int(value)
        return str(found) if is_text else found


_NOBODY: Final[Mapping[Lost, Any]] = {
    Lost.EMPTY: None,
    Lost.REMOVED: _GONE,
    Lost.ZERO: 0,
    Lost.RECORD: None,
}


def _slots(value: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield where the path leads: containers, and the key or index in each."""
    first, *rest = path
    keys: list[Any] = []
    if first == EACH and isinstance(value, list):
        keys = list(range(len(value)))
    elif first != EACH and isinstance(value, dict) and first in value:
        keys = [first]
    for key in keys:
        if rest:
            yield from _slots(value[key], tuple(rest))
        else:
            yield value, key

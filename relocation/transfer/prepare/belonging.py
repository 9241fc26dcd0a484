"""Tell what was left out of the wanted organizations from what is of others.

A mail counts nothing of another tenant: how many users, integrations or second factors he has is
his alone. Whose a record is, the first of its references says that leads into a tenant.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Final

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.findings import FindingKind
from relocation.transfer.prepare.key_table import USER, natural_key
from relocation.transfer.prepare.selection import Selection

_TELLING: Final = ("sentry.organization", "sentry.project", "sentry.team")
"""Models that tell most, the first one most of all."""
_NAMES: Final = {
    f"{name}{ending}": f"sentry.{name}"
    for name in ("organization", "project", "team", "user")
    for ending in ("", "_id")
}
"""What fields of models that are not known call a reference."""
_Key = int | str


class Belonging:
    """Take in what is left out, then count what of it belongs to the wanted organizations."""

    def __init__(self) -> None:
        self._left: defaultdict[tuple[str, FindingKind, str], Counter[_Key]] = defaultdict(Counter)
        self._nobodys: Counter[tuple[str, FindingKind]] = Counter()
        self._stripped: defaultdict[tuple[str, str], array[int]] = defaultdict(lambda: array("q"))
        self._fields: dict[str, tuple[tuple[str, str], ...]] = {}

    def leave_out(self, model: str, kind: FindingKind, record: Record) -> None:
        """Take in a record that is left out; `model` is the name under which it is told."""
        for field, to in self._references(record):
            value = record.fields.get(field)
            key = value if type(value) is int else natural_key(value)
            if key is not None:
                self._left[model, kind, to][key] += 1
                return
        self._nobodys[model, kind] += 1

    def repeat(self, model: str, pk: int) -> None:
        """Take in a record whose primary key an earlier one has."""
        self._left[model, FindingKind.REPEATED_RECORD, model][pk] += 1

    def strip(self, model: str, field: str, pk: int) -> None:
        """Take in a record of an admitted model that loses a field."""
        if -(2**63) <= pk < 2**63:
            self._stripped[model, field].append(pk)

    def left_behind(
        self, selection: Selection, wanted: Collection[str]
    ) -> dict[str, dict[FindingKind, int]]:
        """Return by model and cause how many records the wanted organizations leave behind.

        What nothing says the owner of counts where no other organization is in the file.
        """
        counts: defaultdict[str, dict[FindingKind, int]] = defaultdict(dict)
        found = Counter(dict(selection.outside()))
        for (model, kind, to), keys in self._left.items():
            found[model, kind] += sum(n for key, n in keys.items() if selection.selects(to, key))
        if selection.slugs <= set(wanted):
            found.update(self._nobodys)
        for (model, kind), count in found.items():
            if count:
                counts[model][kind] = count
        return dict(counts)

    def lost_fields(self, selection: Selection) -> Iterator[tuple[str, str, int]]:
        """Yield model and field with the number of selected records that lose it."""
        for (model, field), pks in self._stripped.items():
            if count := sum(selection.selects(model, pk) for pk in pks):
                yield model, field, count

    def _references(self, record: Record) -> tuple[tuple[str, str], ...]:
        known = load_catalogue().get(record.model)
        if known is None:
            return tuple((field, _NAMES[field]) for field in _NAMES if field in record.fields)
        if record.model not in self._fields:
            tree = {
                one.name
                for one in load_catalogue().admitted(Scope.ORGANIZATION)
                if Scope.ORGANIZATION in one.scopes or one.name == USER
            }
            order = {name: place for place, name in enumerate(_TELLING)}
            keys = [key for key in known.foreign_keys.values() if key.to in tree]
            keys.sort(key=lambda key: (key.to == USER, order.get(key.to, len(order))))
            self._fields[record.model] = tuple((key.field, key.to) for key in keys)
        return self._fields[record.model]

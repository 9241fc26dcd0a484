"""Turn the export's references into the destination's."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from relocation.catalogue import load_catalogue
from relocation.catalogue.places import PLACES
from relocation.findings import FindingKind
from relocation.transfer.database.schema import ModelTable
from relocation.transfer.inner_ids import has_places, point_inside
from relocation.transfer.load.batch import Batch, PendingRow

PkMaps = Mapping[str, Mapping[int, int]]
"""By model: where the records of the export are now."""

_NULL_MEANS_ANYBODY = frozenset(
    {
        ("sentry.actor", "team"),
        ("sentry.actor", "user_id"),
        ("sentry.organizationmember", "user_id"),
        ("sentry.projectbookmark", "project"),
        ("sentry.rulesnooze", "alert_rule"),
        ("sentry.rulesnooze", "rule"),
        ("sentry.rulesnooze", "user_id"),
        ("sentry.useroption", "project_id"),
    }
)
"""Nullable references without which a row would say something else: a member without a person, an
actor that stands for nobody, a snooze for everybody, a person's setting for one project that
becomes one for all."""

_TENANT = "sentry.organization"
_KEYS: Final = frozenset({int, type(None)})
"""Types of references: true and 1.0 are equal to 1, and refer to nothing."""


@dataclass(frozen=True)
class Reference:
    """One reference of a model, as the destination has it."""

    field: str
    to: str
    required: bool
    """Whether a row cannot be without it."""
    dropping: bool
    """Whether a row is dropped when it is given and was not imported; else it becomes null (B-6).

    So is a row of an organization that was not imported, even where the column may be null.
    """


def references(table: ModelTable) -> list[Reference]:
    """Return the references of a model that have a column in the destination."""
    found = []
    for key in table.model.foreign_keys.values():
        if key.field not in table.fields:
            continue
        required = not key.nullable or not table.column(key.field).nullable
        meaning = (table.model.name, key.field) in _NULL_MEANS_ANYBODY or key.to == _TENANT
        found.append(Reference(key.field, key.to, required, required or meaning))
    return found


def resolve(batch: Batch, draft: PendingRow, keys: list[Reference], maps: PkMaps) -> bool:
    """Point a draft at the destination's rows; False where it had to be dropped (B-6)."""
    nulled = []
    for key in keys:
        given = draft.values.get(key.field)
        if given is None:
            if key.required:
                batch.drop(draft.pk, f"It does not say which {key.to} it belongs to.", key.field)
                return False
            continue
        found = maps.get(key.to, {}).get(given) if type(given) is int else None
        if found is None and key.dropping:
            batch.drop(draft.pk, _reason(key, given), key.field)
            return False
        if found is None:
            nulled.append((key, given))
        draft.values[key.field] = found
    for key, given in nulled:
        reason = _reason(key, given) + " The reference is left empty."
        batch.report(FindingKind.NULLED_REFERENCE, draft.pk, reason, key.field)
    return True


def resolve_all(
    batch: Batch, drafts: list[PendingRow], keys: list[Reference], maps: PkMaps
) -> list[PendingRow]:
    """Point drafts at the destination's rows; return those that did not have to be dropped (B-6).

    Reference by reference where all can be resolved, which is much quicker than draft by draft.
    """
    columns = []
    for key in keys:
        known: Mapping[Any, int] = maps.get(key.to, {})
        given = [draft.values.get(key.field) for draft in drafts]
        if not _KEYS.issuperset(map(type, given)):  # a natural key, or what only equals a number
            break
        found = list(map(known.get, given))
        if None in found:
            lost = (pk for pk, here in zip(given, found, strict=True) if here is None)
            if any(key.required or pk is not None for pk in lost):
                break
        columns.append((key.field, found))
    else:
        for field, found in columns:
            for draft, here in zip(drafts, found, strict=True):
                if here is not None:
                    draft.values[field] = here
        return drafts
    return [draft for draft in drafts if resolve(batch, draft, keys, maps)]


def resolve_inside(batch: Batch, maps: PkMaps) -> None:
    """Point the ids inside the drafts' values at the destination's rows, and tell of lost ones."""
    model = batch.table.model.name
    if not has_places(model):
        return
    kept = []
    for draft in batch.rows:
        lost = point_inside(model, draft.values, lambda to, pk: maps.get(to, {}).get(pk))
        fatal = next((one for one in lost if one.fatal), None)
        if fatal is not None:
            reason = f"It refers to {fatal.to} {fatal.id}, which was not imported."
            batch.drop(draft.pk, reason, fatal.field)
            continue
        kept.append(draft)
        for one in lost:
            reason = f"It refers to {one.to} {one.id}, which was not imported. Nobody is named now."
            batch.report(FindingKind.NULLED_REFERENCE, draft.pk, reason, one.field)
    batch.rows = kept


@cache
def referenced_models() -> frozenset[str]:
    """Return the models that others refer to, whose maps an import has to keep."""
    return frozenset(
        key.to for model in load_catalogue().values() for key in model.foreign_keys.values()
    ) | {place.to for place in PLACES}


class MapsOnDemand(PkMaps):
    """Makes the map of a model when it is asked for.

    Keeps it if others refer to the model, and until the next one is made: most records of a large
    export are of models that nothing refers to.
    """

    def __init__(
        self, models: Collection[str], make: Callable[[str], Mapping[int, int]], /
    ) -> None:
        self._models = models
        self._make = make
        self._kept: dict[str, Mapping[int, int]] = {}
        self._passing = ""
        """The model whose map is kept until the next one is made."""

    def __getitem__(self, model: str) -> Mapping[int, int]:
        if model not in self._models:
            raise KeyError(model)
        if model not in self._kept:
            self._kept.pop(self._passing, None)
            self._passing = "" if model in referenced_models() else model
            self._kept[model] = self._make(model)
        return self._kept[model]

    def __contains__(self, model: object) -> bool:
        return model in self._models  # without making its map

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


def _reason(key: Reference, given: Any) -> str:
    which = f" {given}" if type(given) is int else ""
    return f"It refers to {key.to}{which}, which was not imported."

"""Compare two exports record by record (5.1): left is what is expected, right what is there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from relocation.archive.records import Record
from relocation.catalogue import Field, Model, load_catalogue
from relocation.catalogue.places import places_of
from relocation.findings import Finding, FindingKind
from relocation.transfer.compare.canonical import canonical, same, written_alike
from relocation.transfer.compare.comparators import Comparator, compare_password, missing
from relocation.transfer.compare.fieldchecks import PASSWORD_FIELDS, USER, Ordinals, field_checks
from relocation.transfer.compare.intended import Intended
from relocation.transfer.compare.ordinals import number_records, unequal_counts
from relocation.transfer.inner_ids import has_places, point_inside
from relocation.transfer.load.references import MapsOnDemand
from relocation.transfer.source import Source

MAX_FINDINGS: Final = 20_000
"""Most differences that are told one by one: what is above has one cause, and is one row more."""


def compare(
    left: Source,
    right: Source,
    *,
    pairs: Mapping[str, Mapping[int, int]] | None = None,
    intended: Intended | None = None,
    models: Mapping[str, Model] | None = None,
) -> list[Finding]:
    """Report where records differ by more than the comparators of 5.2 allow.

    With `pairs`, from left to right primary keys per model, records are matched exactly; otherwise
    by natural keys and order, and a difference in their numbers ends the comparison. What is
    `intended` is no finding. `models` are the catalogue's, or such with more fields. At most
    MAX_FINDINGS are told, then one says how many more there are. Holds in memory what comes in
    another order on the right than on the left. Raises ValueError for a model outside the
    catalogue.
    """
    known = models or load_catalogue()
    names = _models(left, right)
    if pairs is not None:
        arrived = MapsOnDemand(pairs, lambda name: {pk: pk for pk in pairs[name].values()})
        comparison = _Comparison(left, right, pairs, arrived, intended, exact=True)
        return _bounded(comparison.differences(known[name] for name in names))
    left_ordinals, findings = number_records(left, names, "expected")
    right_ordinals, more = number_records(right, names, "actual")
    findings += more
    findings += unequal_counts(names, left_ordinals, right_ordinals)
    if findings:
        return _bounded(findings)
    comparison = _Comparison(left, right, left_ordinals, right_ordinals, intended)
    return _bounded(comparison.differences(known[name] for name in names))


def compare_unchanged(left: Source, right: Source) -> list[Finding]:
    """Report each record of the left side that the right one does not have just so.

    What else is on the right does not matter. Bounded like `compare`.
    """
    return _bounded(
        finding
        for name in left.models()
        for finding in _changes(load_catalogue()[name], left, right)
    )


def _models(left: Source, right: Source) -> list[str]:
    """Return the models of both sides in dependency order."""
    catalogue = load_catalogue()
    present = {*left.models(), *right.models()}
    unknown = sorted(present - catalogue.keys())
    if unknown:
        raise ValueError(f"models outside the catalogue cannot be compared: {unknown}")
    return [name for name in catalogue if name in present]


@dataclass(frozen=True)
class _Check:
    """How one field is compared."""

    field: Field
    comparators: tuple[Comparator, ...]
    demanding: bool


@dataclass(frozen=True)
class _Comparison:
    """Two sides, and what pairs their records: the same ordinal."""

    left: Source
    right: Source
    left_ordinals: Ordinals
    right_ordinals: Ordinals
    intended: Intended | None
    exact: bool = False
    """Whether the right side came from the left one, so that an id without a record is a fault."""

    def differences(self, models: Iterable[Model]) -> Iterator[Finding]:
        for model in models:
            yield from self._of_model(model)

    def _of_model(self, model: Model) -> Iterator[Finding]:
        checks = [
            _Check(model.fields[field], comparators, any(one.demanding for one in comparators))
            for field, comparators in field_checks(model, self.left_ordinals, self.right_ordinals)
            if comparators
        ]
        ordinals = self.left_ordinals.get(model.name, {})
        actual = _ByOrdinal(
            self.right.records(model.name),
            self.right_ordinals.get(model.name, {}),
            again=len(set(ordinals.values())) < len(ordinals),  # some were merged into one
        )
        for record in self.left.records(model.name):
            ordinal = ordinals.get(record.pk)
            found = None if ordinal is None else actual.take(ordinal)
            if self.intended is not None and self.intended.absence(model.name, record.pk):
                continue  # what may be missing may also have become somebody else's record
            if found is not None and has_places(model.name):
                yield from self._by_ids(model, record, found, checks)
            elif found is not None:
                yield from _compare_record(model, record, found, checks, self.intended)
            else:
                reason = "The record did not arrive, and no reason is known."
                yield Finding(FindingKind.EXISTENCE, model.name, reason, pk=record.pk)
        if extra := actual.count_extra():
            reason = f"{extra} new records match no expected record."
            yield Finding(FindingKind.UNEQUAL_COUNTS, model.name, reason)

    def _by_ids(
        self, model: Model, left: Record, right: Record, checks: Iterable[_Check]
    ) -> Iterator[Finding]:
        """Compare two records whose values hold ids: each id counts as the record it names."""
        expected, named = _naming(left, self.left_ordinals, lost=self.exact)
        actual, found = _naming(right, self.right_ordinals, lost=False)
        for finding in _compare_record(model, expected, actual, checks, self.intended):
            if finding.field in places_of(model.name) and named != found:
                reason = "Its ids point to other records than expected."
                yield replace(finding, kind=FindingKind.FOREIGN_KEY, reason=reason)
            else:
                yield finding


def _naming(record: Record, ordinals: Ordinals, *, lost: bool) -> tuple[Record, list[str]]:
    """Return a record with what its inner ids name, and the names.

    An id without a record becomes the nobody of its place with `lost`, else a name of its own.
    """
    names: list[str] = []

    def name(to: str, pk: int) -> str | None:
        ordinal = ordinals.get(to, {}).get(pk)
        if ordinal is None and lost:
            return None
        names.append(f"{to} {ordinal}" if ordinal is not None else f"no {to} {pk}")
        return names[-1]

    fields = dict(record.fields)
    point_inside(record.model, fields, name)
    return record._replace(fields=fields), names


class _ByOrdinal:
    """Records by ordinal, read no further than they are asked for.

    With `again` each may be asked for more than once.
    """

    def __init__(
        self, records: Iterator[Record], ordinals: Mapping[int, int], *, again: bool
    ) -> None:
        self._records = records
        self._ordinals = ordinals
        self._again = again
        self._waiting: dict[int, Record] = {}
        self._extra = 0

    def take(self, ordinal: int) -> Record | None:
        """Return the record with this ordinal; None where there is none."""
        while ordinal not in self._waiting and self._read():
            pass
        return self._waiting.get(ordinal) if self._again else self._waiting.pop(ordinal, None)

    def count_extra(self) -> int:
        """Return how many records have no ordinal; reads all that are left."""
        while self._read():
            pass
        return self._extra

    def _read(self) -> bool:
        record = next(self._records, None)
        if record is None:
            return False
        ordinal = self._ordinals.get(record.pk)
        if ordinal is None:
            self._extra += 1
        else:
            self._waiting[ordinal] = record
        return True


def _compare_record(
    model: Model, left: Record, right: Record, checks: Iterable[_Check], intended: Intended | None
) -> Iterator[Finding]:
    for check in checks:
        field = check.field.name
        before, after = left.fields.get(field), right.fields.get(field)
        if before is None is after:
            continue
        if not check.demanding and written_alike(before, after):
            continue  # as most are
        expected, actual = canonical(check.field, before), canonical(check.field, after)
        found = [
            Finding(kind, model.name, reason, field, left.pk)
            for comparator in check.comparators
            for kind, reason in _faults(comparator, expected, actual)
        ]
        if intended is None or not (found and intended.change(left, field, expected, actual)):
            yield from dict.fromkeys(found)  # both comparators of a secret see that it is missing
    if model.name == USER:
        yield from _compare_user(left, right, intended)


def _faults(comparator: Comparator, left: Any, right: Any) -> Iterator[tuple[FindingKind, str]]:
    lacking = missing(left, right)
    if lacking and not (comparator.removable and right is None):
        yield FindingKind.EXISTENCE, lacking
    elif left is not None and right is not None:
        for reason in comparator.compare(left, right):
            yield comparator.kind, reason


def _compare_user(left: Record, right: Record, intended: Intended | None) -> Iterator[Finding]:
    before, after = (
        {field: side.fields.get(field) for field in PASSWORD_FIELDS} for side in (left, right)
    )
    if intended is not None and "is_unclaimed" not in right.fields:
        after["is_unclaimed"] = True  # an older product has no mark of it
    if intended is not None and after["is_unclaimed"] and after["password"] is not None:
        # The import wrote them, whatever the export has.
        before |= {"last_password_change": None, "password": before["password"] or ""}
    lacking = missing(before["password"], after["password"])
    if lacking:
        yield Finding(FindingKind.EXISTENCE, USER, lacking, "password", left.pk)
        return
    for field, reason in compare_password(before, after):
        yield Finding(FindingKind.USER_PASSWORD, USER, reason, field, left.pk)


def _changes(model: Model, left: Source, right: Source) -> Iterator[Finding]:
    expected = {record.pk: record for record in left.records(model.name)}
    for found in right.records(model.name):
        record = expected.pop(found.pk, None)
        if record is None:
            continue
        for field in sorted(record.fields.keys() & model.fields.keys()):
            before = canonical(model.fields[field], record.fields[field])
            after = canonical(model.fields[field], found.fields.get(field))
            if not same(before, after):
                reason = "The record was already in the destination, and this field of it changed."
                yield Finding(FindingKind.UNEQUAL, model.name, reason, field, found.pk)
    for pk in expected:
        reason = "The record was already in the destination, and is gone now."
        yield Finding(FindingKind.EXISTENCE, model.name, reason, pk=pk)


def _bounded(findings: Iterable[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    more = 0
    for finding in findings:
        if len(kept) < MAX_FINDINGS:
            kept.append(finding)
        else:
            more += 1
    if more:
        reason = f"{more} more differences were found but are not listed."
        kept.append(Finding(kept[-1].kind, kept[-1].model, reason))
    return kept

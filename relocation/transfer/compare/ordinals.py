"""Pair the records of two exports that have no primary keys in common (5.1)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from relocation.findings import Finding, FindingKind
from relocation.transfer.source import Source

Place = Callable[[str, Any], str]
"""Turns a reference to a model into text that sorts like the record it names."""


def _by(*names: str) -> Callable[[dict[str, Any], Place], tuple[str, ...]]:
    return lambda fields, _place: tuple(str(fields.get(name)) for name in names)


def _by_user_and(name: str) -> Callable[[dict[str, Any], Place], tuple[str, ...]]:
    return lambda fields, place: (place("sentry.user", fields.get("user")), str(fields.get(name)))


def _by_option(fields: dict[str, Any], place: Place) -> tuple[str, ...]:
    return (
        *_by_user_and("key")(fields, place),
        place("sentry.organization", fields.get("organization_id")),
        place("sentry.project", fields.get("project_id")),
    )


_NATURAL_KEYS: Mapping[str, Callable[[dict[str, Any], Place], tuple[str, ...]]] = {
    "sentry.user": _by("username"),
    "sentry.email": _by("email"),
    "sentry.useremail": _by_user_and("email"),
    "sentry.userip": _by_user_and("ip_address"),
    "sentry.userpermission": _by_user_and("permission"),
    "sentry.useroption": _by_option,
    "sentry.option": _by("key"),
    "sentry.controloption": _by("key"),
    "sentry.userrole": _by("name"),
    "sentry.relay": _by("relay_id"),
    "sentry.relayusage": _by("relay_id", "version"),
}

_MAY_REPEAT: Final = frozenset({"sentry.useroption"})
"""Models whose natural key two records may share (A-87)."""


def number_records(
    source: Source, models: Iterable[str], side: str
) -> tuple[dict[str, dict[int, int]], list[Finding]]:
    """Number the records of each model from 1: by natural key where there is one, else by pk.

    `models` come in dependency order, since the numbers of users make keys of what they own.
    Reports primary keys that do not rise, and natural keys that occur twice.
    """
    ordinals: dict[str, dict[int, int]] = {}
    findings: list[Finding] = []

    def place(model: str, pk: Any) -> str:
        known = ordinals.get(model, {})
        return f"{known.get(pk, 0):020d}" if type(pk) is int else ""

    for model in models:
        key = _NATURAL_KEYS.get(model)
        pks: list[tuple[tuple[str, ...], int]] = [
            (key(record.fields, place) if key else (), record.pk)
            for record in source.records(model)
        ]
        findings += _disorder(model, [pk for _, pk in pks], side)
        if key is not None and model not in _MAY_REPEAT:
            findings += _repeated(model, pks, side)
        ordinals[model] = {pk: number for number, (_, pk) in enumerate(sorted(pks), start=1)}
    return ordinals, findings


def unequal_counts(
    models: Iterable[str],
    left: Mapping[str, Mapping[int, int]],
    right: Mapping[str, Mapping[int, int]],
) -> Iterator[Finding]:
    """Report each model that has more records on one side."""
    for model in models:
        expected, actual = len(left[model]), len(right[model])
        if expected != actual:
            reason = f"Expected {expected} records, found {actual}."
            yield Finding(FindingKind.UNEQUAL_COUNTS, model, reason)


def _disorder(model: str, pks: list[int], side: str) -> Iterator[Finding]:
    for before, after in pairwise(pks):
        if after <= before:
            reason = f"In the {side} records, {after} comes after {before}: primary keys must rise."
            yield Finding(FindingKind.UNORDERED_INPUT, model, reason, pk=after)
            return


def _repeated(
    model: str, keyed: Iterable[tuple[tuple[str, ...], int]], side: str
) -> Iterator[Finding]:
    first: dict[tuple[str, ...], int] = {}
    for key, pk in keyed:
        if first.setdefault(key, pk) != pk:
            reason = f"In the {side} records, {pk} has the same natural key as {first[key]}."
            yield Finding(FindingKind.DUPLICATE_KEY, model, reason, pk=pk)

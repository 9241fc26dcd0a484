"""What may differ between a value and the same value after an import: one function a rule (5.2).

Each function takes the expected value and the actual one and returns what is wrong, a sentence
each. No sentence shows a secret, an address or free text (W-31).
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from relocation.findings import FindingKind
from relocation.transfer.compare.canonical import same
from relocation.transfer.database.codec import UnfitValueError, parse_datetime
from relocation.transfer.database.nested import parse_list

Compare = Callable[[Any, Any], list[str]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECRET = re.compile(r"[0-9a-f]{32}")
_SUBSCRIPTION = re.compile(r"[0-9]+/[0-9a-f]{32}")
_UUID4_VERSION: Final = 4
_LONG_HASH, _SHORT_HASH = 16, 8
_LONG_PASSWORD, _SHORT_PASSWORD = 80, 40


@dataclass(frozen=True)
class Comparator:
    """A comparison of two present values, and what to make of a value that is missing."""

    kind: FindingKind
    compare: Compare
    removable: bool = False
    """Whether the actual value may be null where the expected one is not."""
    demanding: bool = False
    """Whether a value may be wrong although it is the expected one."""


def mask_address(value: Any) -> str:
    """Show a mail address by its first letter and the last six characters of its domain (A-76).

    What is no address is masked like a secret, since any text can stand in such a field.
    """
    if isinstance(value, list):
        return ", ".join(mask_address(item) for item in value)
    local, at, domain = str(value).rpartition("@")
    return f"{local[:1]}...@...{domain[-6:]}" if at else mask_secret(value)


def mask_secret(value: Any) -> str:
    """Show a secret by at most three characters at each end (A-77)."""
    text = str(value)
    if len(text) >= _LONG_HASH:
        return f"{text[:3]}...{text[-3:]}"
    return f"{text[:1]}...{text[-1:]}" if len(text) >= _SHORT_HASH else "..."


def mask_password(value: Any) -> str:
    """Show a password's hash by its method and a few characters (A-78, V-1)."""
    text = str(value)
    if len(text) > _LONG_PASSWORD:
        return f"{text[:12]}...{text[-6:]}"
    return f"{text[:6]}...{text[-4:]}" if len(text) > _SHORT_PASSWORD else "..."


def describe(value: Any) -> str:
    """Show a value of which nothing is known: numbers and truth values only."""
    if isinstance(value, (bool, int, float)) or value is None:
        return str(value).lower()
    return f"text of {len(value)} characters" if isinstance(value, str) else "a structure"


def missing(left: Any, right: Any) -> str | None:
    """Name the side that lacks a value the other one has; null and absent are the same (V-2)."""
    if (left is None) is (right is None):
        return None
    return f"The {'expected' if left is None else 'actual'} record has no value."


def same_value(left: Any, right: Any) -> list[str]:
    """Expect the same value."""
    return [] if same(left, right) else [f"Expected {describe(left)}, found {describe(right)}."]


def same_masked(mask: Callable[[Any], str]) -> Compare:
    """Return a comparison that expects the same value and shows both masked."""

    def compare(left: Any, right: Any) -> list[str]:
        return [] if same(left, right) else [f"Expected {mask(left)}, found {mask(right)}."]

    return compare


def auto_suffix(mask: Callable[[Any], str]) -> Compare:
    """Return a comparison that allows a hyphen and more at the end (A-74)."""

    def compare(left: Any, right: Any) -> list[str]:
        fits = same(left, right) or str(right).startswith(f"{left}-")
        fault = f"Expected {mask(left)} or that with a suffix, found {mask(right)}."
        return [] if fits else [fault]

    return compare


def not_earlier(left: Any, right: Any) -> list[str]:
    """Expect the same date or a later one; no date counts as the earliest (A-72)."""
    before, after = _moment(left), _moment(right)
    if before is None or after is None:
        return same_value(left, right)
    return [] if before <= after else [f"Expected {left} or later, found {right}."]


def same_instant(left: Any, right: Any) -> list[str]:
    """Expect the same moment, however it is written (A-75)."""
    expected, actual = _moment(left), _moment(right)
    if expected is None or actual is None:
        return same_value(left, right)
    return [] if expected == actual else [f"Expected {left}, found {right}."]


def same_items(left: Any, right: Any) -> list[str]:
    """Expect the same items as often, in any order (A-82); takes lists in display form too."""
    expected, actual = Counter(_items(left)), Counter(_items(right))
    lacking, extra = (expected - actual).total(), (actual - expected).total()
    return [f"{lacking} items are missing and {extra} are new."] if lacking or extra else []


def secret_form(left: Any, right: Any) -> list[str]:
    """Expect 32 lower-case hexadecimal digits on both sides, not the same ones (A-81)."""
    return _bad_form(left, right, _is_secret, "32 lower-case hexadecimal digits")


def renewed_subscription(left: Any, right: Any) -> list[str]:
    """Expect two subscription ids that differ (A-80)."""
    return _bad_form(left, right, is_subscription, "a subscription id") + _renewed(left, right)


def renewed_uuid(left: Any, right: Any) -> list[str]:
    """Expect two random UUIDs that differ (A-80)."""
    return _bad_form(left, right, is_uuid4, "a UUID of version 4") + _renewed(left, right)


def same_reference(
    left_ordinals: Mapping[int, int] | None, right_ordinals: Mapping[int, int] | None
) -> Compare:
    """Return a comparison that expects both primary keys to name the same record (A-79).

    The maps lead from a side's primary keys to what both sides share; comparing without them
    raises RuntimeError (V-4).
    """

    def compare(left: Any, right: Any) -> list[str]:
        if left_ordinals is None or right_ordinals is None:
            raise RuntimeError("references are compared before the records are paired")
        expected, actual = _ordinal(left_ordinals, left), _ordinal(right_ordinals, right)
        unknown = [
            f"The {side} record refers to {describe(pk)}, which is not there."
            for side, pk, ordinal in (("expected", left, expected), ("actual", right, actual))
            if ordinal is None
        ]
        if unknown or expected == actual:
            return unknown
        return [f"Expected a reference to record {expected}, found one to record {actual}."]

    return compare


def compare_password(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Compare a user's password and the fields about it; returns field and sentence (V-1, V-6).

    A user who became unclaimed, or stays it, must have got another password; one who is claimed
    must have kept it.
    """
    found = []
    shown = f"{mask_password(left.get('password'))} and {mask_password(right.get('password'))}"
    if same(left.get("password"), right.get("password")) is bool(right.get("is_unclaimed")):
        fault = "the same as before" if right.get("is_unclaimed") else "another one"
        found.append(("password", f"The password is {fault}: {shown}."))
    if left.get("is_unclaimed") and not right.get("is_unclaimed"):
        found.append(("is_unclaimed", "The user was unclaimed and is claimed now."))
    if right.get("is_unclaimed") and right.get("is_password_expired"):
        found.append(("is_password_expired", "The new password has already expired."))
    date = "last_password_change"
    found += [(date, reason) for reason in not_earlier(left.get(date), right.get(date))]
    return sorted(found)


def is_uuid4(value: Any) -> bool:
    """Tell whether a value is the text of a random UUID, with hyphens or without."""
    try:
        return uuid.UUID(value).version == _UUID4_VERSION
    except (AttributeError, TypeError, ValueError):
        return False


def is_subscription(value: Any) -> bool:
    """Tell whether a value has the form of a query subscription's id."""
    return isinstance(value, str) and _SUBSCRIPTION.fullmatch(value) is not None


def _ordinal(ordinals: Mapping[int, int], pk: Any) -> int | None:
    return ordinals.get(pk) if type(pk) is int else None  # old files name users by a list


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and _SECRET.fullmatch(value) is not None


def _bad_form(left: Any, right: Any, fits: Callable[[Any], bool], form: str) -> list[str]:
    sides = (("expected", left), ("actual", right))
    return [f"The {side} value is not {form}." for side, value in sides if not fits(value)]


def _renewed(left: Any, right: Any) -> list[str]:
    return ["The value is the same as before."] if same(left, right) else []


def _moment(value: Any) -> datetime | None:
    if value is None:
        return _EPOCH
    try:
        return parse_datetime(value)
    except UnfitValueError:
        return None


def _items(value: Any) -> list[str]:
    items = parse_list(value)
    return [str(value)] if items is None else [str(item) for item in items]

"""What an import changes on purpose, so that a comparison does not hold it against it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from relocation.archive.records import Record
from relocation.findings import Finding, FindingKind
from relocation.transfer.compare.comparators import is_subscription, is_uuid4
from relocation.transfer.load.renewal import CREATING
from relocation.transfer.load.rules import PENDING_APPROVAL

_MAX_USERNAME: Final = 128
_SUFFIXED = re.compile(r"(.*)-([a-z0-9]{2}|[a-z0-9]{3}|[a-z0-9]{5}|[a-z0-9]{12})", re.DOTALL)
_NAMELESS = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Change:
    """A difference that an import makes by a rule."""

    model: str
    field: str
    rule: str
    """The id of the rule in the specification."""
    fits: Callable[[Any, Any], bool]
    """Tells whether the rule can have made the second value out of the first."""


def is_suffixed(left: Any, right: Any) -> bool:
    """Tell whether a username can come from another one by a suffix (I-90)."""
    if not isinstance(left, str) or not isinstance(right, str):
        return False
    if not left:
        return _NAMELESS.fullmatch(right) is not None
    match = _SUFFIXED.fullmatch(right)
    return match is not None and match[1] == left[: _MAX_USERNAME - len(match[2]) - 1]


def _is_false(_left: Any, right: Any) -> bool:
    return right is False


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right)


CHANGES: Final = (
    Change("sentry.organization", "status", "I-62", lambda _, right: right == PENDING_APPROVAL),
    Change("sentry.user", "username", "I-53", is_suffixed),
    Change("sentry.user", "is_staff", "I-50", _is_false),
    Change("sentry.user", "is_superuser", "I-50", _is_false),
    Change("sentry.user", "is_managed", "I-50", _is_false),
    # An address row that is there already is used as it is.
    Change("sentry.email", "email", "I-56", lambda left, right: left.lower() == right.lower()),
    Change("sentry.email", "date_added", "W-17", lambda _, right: right is not None),
    Change("sentry.apitoken", "expires_at", "I-80", lambda _, right: right is not None),
    Change("sentry.useremail", "date_hash_added", "I-58", lambda _, right: right is not None),
    Change("sentry.userip", "first_seen", "I-59", lambda _, right: right is not None),
    Change("sentry.userip", "last_seen", "I-59", lambda _, right: right is not None),
    Change("sentry.monitorenvironment", "next_checkin", "I-74", lambda _, right: right is None),
    # Renewed whatever the export has, even where that has not the right form.
    Change("sentry.monitor", "guid", "I-74", lambda left, right: is_uuid4(right) and left != right),
    # The product subscribes anew: the id is empty until it has done so.
    Change("sentry.querysubscription", "subscription_id", "I-73", lambda _, right: right is None),
    Change("sentry.querysubscription", "status", "I-73", lambda _, right: right == CREATING),
    Change("sentry.querysubscription", "date_updated", "I-73", lambda _, right: right is not None),
    # Free keys are taken as they are, even where they have not the right form.
    Change("sentry.projectkey", "public_key", "I-71", _equal),
    Change("sentry.projectkey", "secret_key", "I-71", _equal),
)

CHANGES_SINCE: Final = (
    # The product has subscribed meanwhile, though nobody sees the organization yet.
    Change(
        "sentry.querysubscription",
        "subscription_id",
        "I-73",
        lambda left, right: right is None or (is_subscription(right) and left != right),
    ),
    Change("sentry.querysubscription", "status", "I-73", lambda _, right: right in (CREATING, 0)),
)
"""What a destination at work may have made by itself of what was imported."""

_FOLLOWS: Final = {("sentry.orgauthtoken", "token_last_characters"): "token_hashed"}
"""Fields that change with another one, of which alone the import tells (I-66)."""

_CHANGED: Final = frozenset({FindingKind.RENAMED, FindingKind.RENEWED})
_UNWRITTEN: Final = frozenset({FindingKind.MISSING_COLUMN, FindingKind.COMPUTED_COLUMN})
_LEFT_OUT: Final = frozenset(
    {
        FindingKind.DUPLICATE,
        FindingKind.EXISTING_USER,
        FindingKind.LOST_REFERENCE,
        FindingKind.NOT_REQUESTED,
        FindingKind.OUT_OF_SCOPE,
        FindingKind.REPEATED_RECORD,
    }
)


class Intended:
    """The differences that rules allow, and those that an import has told of by itself.

    `filled` names the fields, by model, in which the destination puts a default for a null.
    """

    def __init__(
        self,
        changes: Iterable[Change],
        told: Iterable[Finding],
        filled: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._filled = frozenset(filled)
        self._changes = {(change.model, change.field): change for change in changes}
        self._left_out: set[tuple[str, int | None]] = set()
        self._changed: set[tuple[str, str | None, int | None]] = set()
        self._nulled: set[tuple[str, str | None, int | None]] = set()
        self._no_column: set[tuple[str, str | None]] = set()
        for finding in told:
            if finding.kind in _LEFT_OUT:
                self._left_out.add((finding.model, finding.pk))
            elif finding.kind in _CHANGED:
                self._changed.add((finding.model, finding.field, finding.pk))
            elif finding.kind is FindingKind.NULLED_REFERENCE:
                self._nulled.add((finding.model, finding.field, finding.pk))
            elif finding.kind in _UNWRITTEN:
                self._no_column.add((finding.model, finding.field))

    def absence(self, model: str, pk: int) -> bool:
        """Tell whether a record may be missing (B-4)."""
        return (model, pk) in self._left_out

    def change(self, left: Record, field: str, expected: Any, actual: Any) -> bool:
        """Tell whether a field may have got this other value.

        A field that an export does not have gets the destination's default (2.1).
        """
        key = (left.model, field)
        change = self._changes.get(key)
        if change is not None and change.fits(expected, actual):
            return True
        if actual is None:
            reported = (left.model, field, left.pk) in self._nulled or key in self._no_column
        else:
            reported = expected is None and (field not in left.fields or key in self._filled)
        cause = _FOLLOWS.get(key, field)
        return reported or (left.model, cause, left.pk) in self._changed

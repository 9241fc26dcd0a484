"""What a check reports about a record (spec 3.8)."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class FindingKind(StrEnum):
    """What was found, by name."""

    # Of reading and importing: what became of a record or a field of it.
    UNKNOWN_MODEL = "UnknownModel"
    UNKNOWN_FIELD = "UnknownField"
    REMOVED_MODEL = "RemovedModel"
    REMOVED_FIELD = "RemovedField"
    UNKNOWN_ID = "UnknownId"
    REPEATED_RECORD = "RepeatedRecord"
    NOT_REQUESTED = "NotRequested"
    OUT_OF_SCOPE = "OutOfScope"
    LOST_REFERENCE = "LostReference"
    NULLED_REFERENCE = "NulledReference"
    DUPLICATE = "Duplicate"
    EXISTING_USER = "ExistingUser"
    RENAMED = "Renamed"
    RENEWED = "Renewed"
    # Of the destination's schema.
    MISSING_TABLE = "MissingTable"
    MISSING_COLUMN = "MissingColumn"
    REQUIRED_COLUMN = "RequiredColumn"
    NARROW_COLUMN = "NarrowColumn"
    LOST_RESTRICTION = "LostRestriction"
    COMPUTED_COLUMN = "ComputedColumn"
    NEEDED_COLUMN = "NeededColumn"
    MAPPED_BY_HAND = "MappedByHand"
    # Of comparison (section 5).
    UNEQUAL_COUNTS = "UnequalCounts"
    UNORDERED_INPUT = "UnorderedInput"
    DUPLICATE_KEY = "DuplicateCustomOrdinal"
    UNEQUAL = "UnequalJSON"
    EXISTENCE = "ExistenceCheck"
    AUTO_SUFFIX = "AutoSuffixComparator"
    DATE_UPDATED = "DateUpdatedComparator"
    DATETIME_EQUALITY = "DatetimeEqualityComparator"
    FOREIGN_KEY = "ForeignKeyComparator"
    EMAIL = "EmailObfuscatingComparator"
    HASH = "HashObfuscatingComparator"
    SECRET_HEX = "SecretHexComparator"  # noqa: S105
    SUBSCRIPTION_ID = "SubscriptionIDComparator"
    UUID4 = "UUID4Comparator"
    UNORDERED_LIST = "UnorderedListComparator"
    USER_PASSWORD = "UserPasswordObfuscatingComparator"  # noqa: S105


@dataclass(frozen=True)
class Finding:
    """One thing a check reports, without secrets or addresses (W-31).

    `pk` is the record's primary key in the export; `reason` is a sentence for the operator.
    """

    kind: FindingKind
    model: str
    reason: str
    field: str | None = None
    pk: int | None = None
    records: int | None = None
    """How many records it is about, where it is about a field of several."""

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON data."""
        return asdict(self)

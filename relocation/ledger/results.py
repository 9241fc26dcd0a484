"""What each task is recorded as done with: one type a task, and the JSON that the ledger keeps.

A field with a default is one that older versions did not record; every other one must be there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from relocation.errors import StaleWorkError
from relocation.findings import Finding, FindingKind
from relocation.model import ExportedOrganization, RecordCounts
from relocation.steps import Task


@dataclass(frozen=True)
class TaskResult:
    """What a task is done with."""

    task: ClassVar[Task]


R = TypeVar("R", bound=TaskResult)


@dataclass(frozen=True)
class SourceExported(TaskResult):
    """A live source was exported into an archive."""

    task = Task.EXPORT_SOURCE
    records: int
    bytes: int
    old_host: str = ""
    """The host that the source keeps as its own; "" where it keeps none."""


@dataclass(frozen=True)
class ArchiveReceived(TaskResult):
    """The archive is in the storage, and the people asked for are users of the destination."""

    task = Task.RECEIVE_ARCHIVE
    bytes: int
    owner_id: int | None = None
    """The user whom the owner's name meant at that moment."""


@dataclass(frozen=True)
class ExportScanned(TaskResult):
    """The export lies in its working form; counts are of records, by model."""

    task = Task.SCAN_EXPORT
    organizations: tuple[ExportedOrganization, ...]
    usernames: tuple[str, ...]
    """Of the users to be moved, sorted."""
    read: Mapping[str, int]
    selected: Mapping[str, int]
    skipped: Mapping[str, Mapping[FindingKind, int]]
    findings: tuple[Finding, ...]
    left_behind: Mapping[str, Mapping[FindingKind, int]] = field(default_factory=dict)
    lost_fields: tuple[tuple[str, str, int], ...] = ()
    old_host: str = ""
    """The host that the organizations come from; "" where the export does not say it."""


@dataclass(frozen=True)
class BaselineCaptured(TaskResult):
    """The destination's own settings lie among the working files."""

    task = Task.CAPTURE_BASELINE


@dataclass(frozen=True)
class CollidingUsersCaptured(TaskResult):
    """The users whose names the export uses too lie among the working files."""

    task = Task.CAPTURE_COLLIDING_USERS


@dataclass(frozen=True)
class ImportTried(TaskResult):
    """A trial import gave what the export holds."""

    task = Task.VALIDATE
    findings: int = 0
    by_hand: tuple[Finding, ...] = ()
    """What the product maps only when it is asked to."""


@dataclass(frozen=True)
class OrganizationsImported(TaskResult):
    """The organizations are in the destination, hidden."""

    task = Task.IMPORT_ORGANIZATIONS
    accounts: Mapping[str, RecordCounts]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ImportVerified(TaskResult):
    """What arrived is what the archive holds."""

    task = Task.VERIFY_IMPORT
    findings: int = 0


@dataclass(frozen=True)
class OwnershipGranted(TaskResult):
    """The owner is a member of each organization."""

    task = Task.GRANT_OWNERSHIP


@dataclass(frozen=True)
class OrganizationsRevealed(TaskResult):
    """The organizations are visible."""

    task = Task.REVEAL_ORGANIZATIONS
    mappings_asked_for: int = 0


@dataclass(frozen=True)
class RelocationCompleted(TaskResult):
    """The relocation has ended well."""

    task = Task.COMPLETE
    organizations: tuple[str, ...]
    """Their slugs in the destination."""
    claims: int


def to_json(result: TaskResult) -> dict[str, Any]:
    """Return a result as plain JSON data, by the names of its fields."""
    stored: dict[str, Any] = TypeAdapter(type(result)).dump_python(result, mode="json")
    return stored


def from_json(kind: type[R], stored: Mapping[str, Any]) -> R:
    """Return the result that the ledger has as JSON data; what only a newer version knows is left.

    Raises StaleWorkError where a field is missing, or is not what it was.
    """
    try:
        return TypeAdapter(kind).validate_json(orjson.dumps(stored), strict=True)
    except ValidationError as err:
        raise StaleWorkError(
            "What an earlier task found can't be read.",
            internal=f"the result of {kind.task}: {err.errors(include_input=False)}",
        ) from err

"""A relocation, and what the transfer engine tells the others of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from relocation.plan import Plan
from relocation.request import RelocationRequest, live_archive
from relocation.steps import RollBackState, Status, Step, Task


@dataclass(frozen=True)
class Relocation:
    """A relocation as the ledger has it at one moment."""

    id: str
    status: Status
    step: Step
    task: Task | None
    round: int
    settled_round: int
    """The last round that was settled; 0 for none."""
    fence: int
    held_since: datetime | None
    """When the last process took it over."""
    lease_until: datetime | None
    """Until when that process need not say that it is alive; None while nobody holds it."""
    resumes: int
    """How often it was asked to go on since a task was last done."""
    resume_asked_at: datetime | None
    """When it was last asked to go on, while it is interrupted."""
    resume_asked_of: datetime | None
    """Since when its run was in the state from which it was asked to go on; the server's clock."""
    suspended_since: datetime | None
    """Since when its run is known to be suspended; the server's clock."""
    owner: str
    owner_email: str | None = field(repr=False)
    creator: str | None
    creator_email: str | None = field(repr=False)
    archive: str
    """Its key in the storage; made by the relocation itself where there is a source."""
    source: str | None
    plan: Mapping[str, Any] | None
    """What was asked for of single users and slugs, as JSON data."""
    archive_bytes: int | None
    discarding_round: int
    """The working files of rounds up to this one are to be gone, and no rerun relies on them."""
    discarded_round: int
    """The working files of rounds up to this one are gone."""
    roll_back: RollBackState | None
    """How far the removal of what it imported last is."""
    organizations: tuple[str, ...]
    reason: str | None
    failed_task: Task | None
    internal_error: str | None = field(repr=False)
    pause_before_step: Step | None
    cancel_before_step: Step | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None
    cause: str | None = None
    """Task and class of error of a failure: what failures with one cause have in common."""
    forgotten_at: datetime | None = None
    """When what the ledger knew of its people was removed: their names are empty since."""
    chunks_removed_at: datetime | None = None
    """When the destination's records of its import were removed."""
    held_back: bool = False
    """Its mails may have gone out already, after the backup that the ledger is of."""

    @property
    def is_open(self) -> bool:
        """Whether its round is not settled yet."""
        return self.settled_round < self.round

    @property
    def request(self) -> RelocationRequest:
        """What was asked."""
        return RelocationRequest(
            archive="" if self.archive == live_archive(self.id) else self.archive,
            source=self.source,
            plan=Plan.model_validate(self.plan or {}),
            organizations=list(self.organizations),
            owner=self.owner,
            creator=self.creator,
        )


@dataclass(frozen=True)
class ExportedOrganization:
    """An organization of the export."""

    pk: int
    slug: str
    name: str


@dataclass(frozen=True)
class MovedOrganization:
    """An organization as it is in the destination now."""

    id: int
    name: str
    slug: str
    old_slug: str
    """Its slug in the export."""
    members: int
    projects: int
    keys: int


@dataclass(frozen=True)
class Claim:
    """An imported user, and the token with which a password can be set."""

    user_id: int
    username: str
    email: str
    token: str
    organizations: tuple[str, ...]
    """The names of the imported organizations that the user is a member of."""


@dataclass(frozen=True)
class RenewedClaims:
    """The users who have a new link, and why the others have none."""

    claims: tuple[Claim, ...]
    refused: Mapping[str, str]
    """By username."""


@dataclass(frozen=True)
class RecordCounts:
    """What became of records: `read` is always the sum of the others (B-4)."""

    read: int = 0
    inserted: int = 0
    merged: int = 0
    overwritten: int = 0
    skipped: int = 0
    dropped: int = 0

    def __add__(self, other: "RecordCounts") -> "RecordCounts":
        return RecordCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class RollBackReport:
    """What one roll back did, by model; what an earlier one did, which was killed, is not in it."""

    removed: Mapping[str, int]
    kept: Mapping[str, int]
    """Address rows that other accounts use by now."""

"""The words of a relocation's life, and the one table of its tasks."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """Where a relocation stands; the first three are active, the others are ends."""

    IN_PROGRESS = "IN_PROGRESS"
    INTERRUPTED = "INTERRUPTED"
    PAUSED = "PAUSED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELLED = "CANCELLED"


ACTIVE = (Status.IN_PROGRESS, Status.INTERRUPTED, Status.PAUSED)


class LifecycleEvent(StrEnum):
    """What happens to a relocation, by the words that its history keeps."""

    OPENED = "OPENED"
    """A process began its first round, or a further one."""
    TAKEN_OVER = "TAKEN_OVER"
    """Another process goes on with it in the same round."""
    INTERRUPTED = "INTERRUPTED"
    RESUME_ASKED = "RESUME_ASKED"
    PAUSED = "PAUSED"
    UNPAUSED = "UNPAUSED"
    PAUSE_SCHEDULED = "PAUSE_SCHEDULED"
    CANCEL_SCHEDULED = "CANCEL_SCHEDULED"
    SCHEDULE_CLEARED = "SCHEDULE_CLEARED"
    ROLLED_BACK = "ROLLED_BACK"
    FILES_DISCARDED = "FILES_DISCARDED"
    CLAIMS_RENEWED = "CLAIMS_RENEWED"
    FORGOTTEN = "FORGOTTEN"
    """What the ledger knew of its people was removed, or of one person."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class RollBackState(StrEnum):
    """How far the removal of what a relocation imported is; one that never began has none."""

    BEGUN = "BEGUN"
    DONE = "DONE"


class Step(IntEnum):
    """The steps in their order; stored by name.

    NOTIFYING is what REVEALING was called: settings, commands and older ledgers may still say it.
    """

    UPLOADING = 1
    PREPROCESSING = 2
    VALIDATING = 3
    IMPORTING = 4
    POSTPROCESSING = 5
    REVEALING = 6
    COMPLETED = 7
    NOTIFYING = REVEALING


class Task(StrEnum):
    """The units of work, stored by these names."""

    EXPORT_SOURCE = "export_source"
    RECEIVE_ARCHIVE = "receive_archive"
    SCAN_EXPORT = "scan_export"
    CAPTURE_BASELINE = "capture_baseline"
    CAPTURE_COLLIDING_USERS = "capture_colliding_users"
    VALIDATE = "validate"
    IMPORT_ORGANIZATIONS = "import_organizations"
    VERIFY_IMPORT = "verify_import"
    GRANT_OWNERSHIP = "grant_ownership"
    REVEAL_ORGANIZATIONS = "reveal_organizations"
    COMPLETE = "complete"


@dataclass(frozen=True)
class Policy:
    """How often a task is tried, how long one try may take, and the reason when it gives up."""

    step: Step
    tries: int
    time_limit: float
    """Seconds one try may take."""
    reason: str


POLICIES: dict[Task, Policy] = {
    Task.EXPORT_SOURCE: Policy(
        Step.UPLOADING,
        4,
        3600,
        "We couldn't export the organizations from the live source because of a problem on our "
        "side.",
    ),
    Task.RECEIVE_ARCHIVE: Policy(
        Step.UPLOADING, 4, 60, "We couldn't read the archive because of a problem on our side."
    ),
    Task.SCAN_EXPORT: Policy(
        Step.PREPROCESSING,
        4,
        300,
        "We couldn't check the export because of a problem on our side.",
    ),
    Task.CAPTURE_BASELINE: Policy(
        Step.PREPROCESSING,
        4,
        300,
        "We couldn't prepare the relocation because of a problem on our side.",
    ),
    Task.CAPTURE_COLLIDING_USERS: Policy(
        Step.PREPROCESSING,
        4,
        300,
        "We couldn't prepare the relocation because of a problem on our side.",
    ),
    Task.VALIDATE: Policy(
        Step.VALIDATING,
        3,
        4800,
        "We couldn't complete the trial import because of a problem on our side.",
    ),
    Task.IMPORT_ORGANIZATIONS: Policy(
        Step.IMPORTING,
        5,
        3600,
        "We couldn't complete the import because of a problem on our side.",
    ),
    Task.VERIFY_IMPORT: Policy(
        Step.IMPORTING,
        4,
        3600,
        "We couldn't compare what was imported with the archive because of a problem on our side.",
    ),
    Task.GRANT_OWNERSHIP: Policy(
        Step.POSTPROCESSING,
        4,
        60,
        "We couldn't hand over the imported organizations because of a problem on our side.",
    ),
    Task.REVEAL_ORGANIZATIONS: Policy(
        Step.REVEALING,
        4,
        60,
        "We couldn't make the imported organizations visible because of a problem on our side.",
    ),
    Task.COMPLETE: Policy(
        Step.COMPLETED,
        4,
        60,
        "We couldn't finish the relocation because of a problem on our side.",
    ),
}
"""The tasks in the order they run (DESIGN 4); settings may override the numbers."""


def backoff(first: float, tries: int, longest: float) -> list[float]:
    """Return the seconds before each further try, doubling up to the longest wait.

    60, 120, 240 ... for `first` = 60.
    """
    return [min(first * 2**n, longest) for n in range(tries - 1)]

"""What can go wrong, in two kinds: worth another try, and not.

Every error carries a `reason`: one sentence that the owner of an organization may read. What only
an operator should see (addresses, SQL, tracebacks) goes into `internal` or the cause.
"""

from relocation.text import one_line

MAX_REASON = 500
"""Most characters of a reason: a longer one must not keep a failure from being stored (W-4)."""

NOTHING_TO_DO = (
    "You need not do anything: our operators can go on from where it stopped. "
    "A mail will tell you how it ended."
)
CORRECT_AND_ASK_AGAIN = "Correct this, then ask for the relocation again."


class RelocationError(Exception):
    """Say why a relocation could not go on; the `reason` is bounded and never empty (B-1)."""

    next_step = NOTHING_TO_DO
    """What the owner can do, as a FAILED notice says it."""

    def __init__(self, reason: str, *, internal: str = "") -> None:
        self.reason = one_line(reason, limit=MAX_REASON)
        if not self.reason:
            raise ValueError("a reason must say something")
        self.internal = internal
        super().__init__(f"{self.reason} [{internal}]" if internal else self.reason)


class TransientError(RelocationError):
    """Another try may succeed."""


class MissingArchiveError(TransientError):
    """The archive is not in the storage, or not yet: some show a file late (A-106)."""

    next_step = "Upload the archive again, then ask for the relocation again."


class PermanentError(RelocationError):
    """No further try can succeed: the relocation fails at once with this reason."""

    next_step = CORRECT_AND_ASK_AGAIN


class DifferencesError(PermanentError):
    """The trial import did not give what the export holds."""

    next_step = (
        "Write to support and quote the relocation's id: a person has to look at the export."
    )


class TriesUsedUpError(PermanentError):
    """Earlier processes used up the tries of this round."""

    next_step = NOTHING_TO_DO


class ConfigurationError(PermanentError):
    """Something an operator must set up is missing or wrong; `internal` says what and how."""

    next_step = NOTHING_TO_DO


class FencedOut(RelocationError):  # noqa: N818 - it tells of a successor, not of a fault
    """Another process has taken the relocation over: stop at once and report nothing."""

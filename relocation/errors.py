"""What can go wrong, in two kinds: worth another try, and not.

Every error carries a `reason`: one sentence that the owner of an organization may read. What only
an operator should see (addresses, SQL, tracebacks) goes into `internal` or the cause.

The classes are the catalogue of reasons: each says what the owner can do about its fault, or that
it is ours to fix. A reason is worded where it is raised, as one of them and never as a bare
PermanentError: the test of the catalogue finds every such place, and holds it to that.
"""

from collections.abc import Sequence

from relocation.findings import Finding
from relocation.text import one_line

MAX_REASON = 500
"""Most characters of a reason: a longer one must not keep a failure from being stored (W-4)."""

NOTHING_TO_DO = (
    "You don't need to do anything. Our operators can resume it, and we'll email you when it's "
    "done. If you don't hear from us within two days, contact support."
)
ASK_SUPPORT = "Contact support and mention the relocation ID: someone has to look at the export."


class RelocationError(Exception):
    """Say why a relocation could not go on; the `reason` is bounded and never empty (B-1)."""

    next_step = NOTHING_TO_DO
    """What the owner can do, as a FAILED notice says it; `NOTHING_TO_DO` where an operator has to
    fix what failed, and can go on."""

    def __init__(self, reason: str, *, internal: str = "") -> None:
        self.reason = one_line(reason, limit=MAX_REASON)
        if not self.reason:
            raise ValueError("a reason must say something")
        self.internal = internal
        super().__init__(f"{self.reason} [{internal}]" if internal else self.reason)


def needs_operator(advice: str) -> bool:
    """Say whether it is an operator who has to see to a failure with this advice."""
    return advice in {NOTHING_TO_DO, ASK_SUPPORT}


class TransientError(RelocationError):
    """A fault on our side; another try may succeed."""


class MissingArchiveError(TransientError):
    """The archive is not in the storage, or not yet: some show a file late (A-106)."""

    next_step = "Upload the archive again, then request the relocation again."


class MissingWorkError(TransientError):
    """A working file of the relocation is not in the storage, or not yet."""

    next_step = "Request a new relocation of the same archive."


class PermanentError(RelocationError):
    """No further try can succeed: the relocation fails at once with this reason."""


class RequestError(PermanentError):
    """What was asked for cannot be done, whatever the archive holds."""

    next_step = "Correct the request, then submit it again."


class PersonError(PermanentError):
    """Owner or creator are not users of the destination to whom something can be handed over."""

    next_step = (
        "Make sure the owner has an active account with a working email address, then request "
        "the relocation again with that account's username."
    )


class OwnerBusyError(PermanentError):
    """The owner has another relocation under way (B-9)."""

    next_step = "Wait for the email that says how the other relocation ended, then try again."


class EndedError(PermanentError):
    """The relocation has ended for good and cannot go on."""

    next_step = "If you still want to move, request a new relocation."


class EncryptionError(PermanentError):
    """The export is not encrypted to the key of this service."""

    next_step = (
        "Export again, encrypt the export with this service's public key, and request a "
        "relocation of the new archive. Support can give you the public key."
    )


class ArchiveError(PermanentError):
    """The archive as a file is not what an export makes."""

    next_step = (
        "Create the archive again with the export command, upload it unchanged, then request a "
        "relocation of the new archive."
    )


class ExportError(PermanentError):
    """What the export holds cannot be moved."""

    next_step = (
        "Fix this where the export was made and export again, then request a relocation of the "
        "new archive."
    )


class MissingOrganizationError(PermanentError):
    """The export lacks organizations that were asked for."""

    next_step = (
        "Correct the slugs, or add the missing organizations to the export. Then request the "
        "relocation again."
    )


class LimitError(PermanentError):
    """More was asked for than one relocation may move."""

    next_step = (
        "Move fewer organizations at a time: request several relocations, one after the other. "
        "If a single organization is too large, contact support."
    )


class DailyLimitError(PermanentError):
    """As many relocations as a day allows were begun."""

    next_step = "Request the relocation again tomorrow."


class StoppedError(PermanentError):
    """An operator gave the run an end by hand."""

    next_step = "If you don't know why it was stopped, contact support."


class DifferencesError(PermanentError):
    """The trial import did not give what the export holds; `findings` say where."""

    next_step = ASK_SUPPORT

    def __init__(
        self, reason: str, *, findings: Sequence[Finding] = (), internal: str = ""
    ) -> None:
        super().__init__(reason, internal=internal)
        self.findings = tuple(findings)


class StaleWorkError(PermanentError):
    """What this relocation has prepared can no longer be used."""

    next_step = "Request a new relocation of the same archive."


class TriesUsedUpError(PermanentError):
    """Earlier processes used up the tries of this round; `advice` is what the last one said."""

    def __init__(self, reason: str, *, advice: str = "", internal: str = "") -> None:
        super().__init__(reason, internal=internal)
        self.next_step = advice or type(self).next_step


class ConfigurationError(PermanentError):
    """Something an operator must set up is missing or wrong; `internal` says what and how."""


class CommandError(PermanentError):
    """What an operator asked for cannot be done; it ends no relocation, so no notice tells it."""


class RevealedError(CommandError):
    """The organizations are visible by now: only an operator may have them removed."""


class CannotRenewError(CommandError):
    """The destination cannot tell who may have a new link to claim an account."""


class UnknownRelocationError(CommandError):
    """The ledger has no relocation of this id."""


class FencedOut(RelocationError):  # noqa: N818 - it tells of a successor, not of a fault
    """Another process has taken the relocation over: stop at once and report nothing."""

"""What the doctor looks at of the storage, and of the archives in it."""

from sqlalchemy import Engine

from relocation.archive.keys import public_key_of
from relocation.archive.tarball import PUBLIC_KEY, read_members
from relocation.errors import RelocationError
from relocation.ledger.relocations import list_relocations
from relocation.ledger.tries import is_done
from relocation.model import Relocation
from relocation.prefect_api.blocks import (
    load_ledger,
    load_private_key,
    load_storage,
    stored_block,
)
from relocation.prefect_api.check import FailedCheckError, WarningError
from relocation.prefect_api.storage import shown_secrets
from relocation.settings import Settings
from relocation.steps import ACTIVE, Status, Task
from relocation.text import counted, listed

_RECENT = 20
"""Unfinished relocations whose archives are compared with the key."""


def storage(settings: Settings) -> str:
    """Write, read and delete a file; warn of a block that shows what it is reached with."""
    files, key = load_storage(settings), "doctor/probe"
    files.write(key, b"probe")
    with files.open(key) as probe:
        same = probe.read() == b"probe"
    files.delete(key)
    if not same:
        raise FailedCheckError("what was written couldn't be read back")
    if shown := shown_secrets(stored_block(settings.storage_block)):
        raise WarningError(
            f"the Prefect UI shows its {listed(shown)}",
            "describe it as relocation-remote-storage: docs/operations.md",
        )
    return "can be written, read and deleted"


def archives(settings: Settings) -> str:
    """Compare the key with the one that each archive of an unfinished relocation was made for."""
    ours = public_key_of(load_private_key(settings)).encode()
    files, ledger = load_storage(settings), load_ledger(settings)
    unfinished = [
        one for one in list_relocations(ledger, limit=_RECENT) if _needs_its_archive(ledger, one)
    ]
    foreign, seen = [], 0
    for one in unfinished:
        try:
            with files.open(one.archive) as archive:
                theirs = read_members(archive)[PUBLIC_KEY].read()
        except (OSError, RelocationError):
            continue  # none, or none of the right form: its relocation fails with the reason
        seen += 1
        if theirs != ours:
            foreign.append(one.id)
    if foreign:
        raise FailedCheckError(f"made for another key: those of {', '.join(foreign)}")
    if not seen:
        return "no unfinished relocation needs one"
    return f"{counted(seen, 'unfinished relocation fits', 'unfinished relocations fit')} the key"


def _needs_its_archive(ledger: Engine, one: Relocation) -> bool:
    """Say whether it goes on, or may, with its archive; one that never fitted is its maker's."""
    if one.status is Status.FAILURE:
        return is_done(ledger, one.id, Task.SCAN_EXPORT)
    return one.status in ACTIVE

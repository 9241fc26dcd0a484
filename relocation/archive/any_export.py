"""Open an archive or a plain export of somebody, whichever it is, with the key at hand if any."""

import base64
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Final

from relocation.archive.envelope import open_export
from relocation.archive.keys import fingerprint_of, public_key_of
from relocation.archive.tarball import TOKEN, read_members
from relocation.errors import PermanentError

_HEAD: Final = 512
_TOKEN_HEAD: Final = 12  # base64 characters: the version and the time of a Fernet token (T-3)


class KeyNeededError(Exception):
    """The archive is encrypted, and no key was given."""


@dataclass(frozen=True)
class AnyExport:
    """The JSON text of an export, and what it came in."""

    text: BinaryIO
    encrypted: bool
    encrypted_at: datetime | None
    """As the archive has it; None also where that is no time."""
    fingerprint: str | None
    """Of the public key that it is encrypted to."""


def open_any_export(stream: BinaryIO, private_pem: str | None, *, own_key: str) -> AnyExport:
    """Open what the file holds, as `open_export` does; a plain export needs no key.

    `own_key` is any private key: a stand-in where none was given. Raises KeyNeededError, and what
    `open_export` raises.
    """
    head = stream.read(_HEAD)
    stream.seek(0)
    plain = head.lstrip().startswith(b"[")
    if private_pem is None and not plain and _is_archive(stream):
        raise KeyNeededError
    encrypted_at = None if plain else _encrypted_at(stream)
    stream.seek(0)
    text = open_export(stream, private_pem or own_key, accept_plain=True)
    own = fingerprint_of(public_key_of(private_pem)) if private_pem and not plain else None
    return AnyExport(text, not plain, encrypted_at, own)


def _is_archive(stream: BinaryIO) -> bool:
    try:
        read_members(stream)
    except PermanentError:
        return False
    finally:
        stream.seek(0)
    return True


def _encrypted_at(stream: BinaryIO) -> datetime | None:
    with suppress(PermanentError, ValueError, OverflowError, OSError):
        head = next(read_members(stream)[TOKEN].pieces(), b"")[:_TOKEN_HEAD]
        seconds = int.from_bytes(base64.urlsafe_b64decode(head)[1:])
        return datetime.fromtimestamp(seconds, UTC)
    return None

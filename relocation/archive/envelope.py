"""Encrypt an export into an archive, and open one (T-1 to T-6)."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa

from relocation.archive.fernet_stream import TokenKey, TokenWriter, Writable
from relocation.archive.keys import (
    KEY_PADDING,
    load_private_key,
    load_public_key,
    public_pem_of,
)
from relocation.archive.records import detect_encoding, read_records
from relocation.archive.tarball import DATA_KEY, PUBLIC_KEY, TOKEN, read_members, token_member
from relocation.errors import (
    ArchiveError,
    ConfigurationError,
    EncryptionError,
    MissingOrganizationError,
)
from relocation.text import listed

_ORGANIZATION = "sentry.organization"

_HEAD = 512  # bytes, the length of a tar's first header
_PIECE = 256 * 1024


@contextmanager
def sealing(public_pem: str, out: BinaryIO) -> Iterator[Writable]:
    """Encrypt what is written as an archive that only the owner of the private key can open.

    As it comes, in memory that does not grow (T-1, T-3). `out` must be seekable and empty: it is an
    archive once the context ends without an error. Raises ConfigurationError where the key is none
    or is too small.
    """
    public_key = load_public_key(public_pem)
    data_key = Fernet.generate_key()
    try:
        sealed_key = public_key.encrypt(data_key, KEY_PADDING)
    except ValueError as err:
        raise ConfigurationError(
            "The key that archives are encrypted with is too small. An operator must replace it."
        ) from err
    with token_member(out, {DATA_KEY: sealed_key, PUBLIC_KEY: public_pem_of(public_key)}):
        token = TokenWriter(data_key, out)
        yield token
        token.close()


def seal_export(plaintext: bytes | BinaryIO, public_pem: str, out: BinaryIO) -> None:
    """Write the export as an archive; see `sealing`."""
    source = BytesIO(plaintext) if isinstance(plaintext, bytes) else plaintext
    with sealing(public_pem, out) as sealed:
        while piece := source.read(_PIECE):
            sealed.write(piece)


def open_export(stream: BinaryIO, private_pem: str, *, accept_plain: bool) -> BinaryIO:
    """Return the JSON text of an archive, or of a plain export where `accept_plain` allows it.

    `stream` must be seekable, and stay open and untouched while the result is read. A plain export
    is returned as it is; an archive is decrypted as it is read, after the signature of all of it
    was checked (W-50). Raises PermanentError for anything that is no archive for this key,
    ConfigurationError where the key itself is bad.
    """
    private_key = load_private_key(private_pem)
    start = stream.tell()
    head = stream.read(_HEAD)
    stream.seek(start)
    if not head:
        raise ArchiveError("The archive file is empty.")
    if head.lstrip().startswith(b"["):
        if not accept_plain:
            raise EncryptionError("The archive is an unencrypted export.")
        return stream
    if encoding := detect_encoding(head):
        raise ArchiveError(
            f"The archive is text in {encoding}, not a tar file. An export must be UTF-8 without "
            "a byte order mark."
        )
    members = read_members(stream)
    key = _unseal_key(members[DATA_KEY].read(), members[PUBLIC_KEY].read(), private_key)
    return key.open(members[TOKEN].pieces)


def _unseal_key(sealed: bytes, public_pem: bytes, private_key: rsa.RSAPrivateKey) -> TokenKey:
    if public_pem != public_pem_of(private_key.public_key()):  # T-6: byte for byte, before RSA work
        raise EncryptionError(
            "The archive was encrypted with a different key, not with this service's public key."
        )
    try:
        return TokenKey(private_key.decrypt(sealed, KEY_PADDING))
    except ValueError as err:
        raise EncryptionError("The data key in the archive can't be decrypted.") from err


def check_archive(
    archive: BinaryIO, private_pem: str, wanted: Collection[str], *, accept_plain: bool
) -> None:
    """Refuse what is no archive for this key, or lacks organizations that are wanted.

    Reads no further than to the last of them. Raises PermanentError as `open_export` does, and
    MissingOrganizationError.
    """
    missing, held = set(wanted), set()
    for record in read_records(open_export(archive, private_pem, accept_plain=accept_plain)):
        if record.model == _ORGANIZATION:
            slug = str(record.fields.get("slug") or "")
            held.add(slug)
            missing.discard(slug)
            if not missing:
                return
    raise MissingOrganizationError(
        f"The archive does not hold {listed(sorted(missing), show=5)}. It holds "
        f"{listed(sorted(held), show=10) or 'no organizations'}."
    )

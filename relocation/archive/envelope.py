"""Encrypt an export into an archive, and open one (T-1 to T-6)."""

import io
from typing import BinaryIO

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relocation.archive.keys import (
    load_private_key,
    load_public_key,
    public_pem_of,
)
from relocation.archive.tarball import DATA_KEY, PUBLIC_KEY, TOKEN, read_members, write_members
from relocation.errors import ArchiveError, ConfigurationError, EncryptionError

_OAEP = padding.OAEP(
    mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None
)
_HEAD = 512  # bytes, the length of a tar's first header


def seal_export(plaintext: bytes | BinaryIO, public_pem: str, out: BinaryIO) -> None:
    """Write the export as an archive that only the owner of the private key can open (T-1, T-3).

    Raises ConfigurationError where the key is none or is too small.
    """
    public_key = load_public_key(public_pem)
    data_key = Fernet.generate_key()
    try:
        sealed_key = public_key.encrypt(data_key, _OAEP)
    except ValueError as err:
        raise ConfigurationError(
            "The key that archives are encrypted to is too small; an operator must replace it."
        ) from err
    data = plaintext if isinstance(plaintext, bytes) else plaintext.read()
    write_members(
        out,
        {
            TOKEN: Fernet(data_key).encrypt(data),
            DATA_KEY: sealed_key,
            PUBLIC_KEY: public_pem_of(public_key),
        },
    )


def open_export(stream: BinaryIO, private_pem: str, *, accept_plain: bool) -> BinaryIO:
    """Return the JSON text of an archive, or of a plain export where `accept_plain` allows it.

    `stream` must be seekable, and stay open while the result is read. A plain export is returned
    as it is; an archive is decrypted in memory. Raises PermanentError for anything that is no
    archive for this key, ConfigurationError where the key itself is bad.
    """
    private_key = load_private_key(private_pem)
    start = stream.tell()
    head = stream.read(_HEAD)
    stream.seek(start)
    if not head:
        raise ArchiveError("The archive is an empty file.")
    if head.lstrip().startswith(b"["):
        if not accept_plain:
            raise EncryptionError("The archive is an export without encryption.")
        return stream
    members = read_members(stream)
    data_key = _unseal_key(members[DATA_KEY], members[PUBLIC_KEY], private_key)
    try:
        return io.BytesIO(data_key.decrypt(members.pop(TOKEN)))
    except InvalidToken as err:
        raise ArchiveError(
            "The export in the archive was damaged or changed after its encryption."
        ) from err


def _unseal_key(sealed: bytes, public_pem: bytes, private_key: rsa.RSAPrivateKey) -> Fernet:
    if public_pem != public_pem_of(private_key.public_key()):  # T-6: byte for byte, before RSA work
        raise EncryptionError(
            "The archive was encrypted with another key than the public key of this service."
        )
    try:
        return Fernet(private_key.decrypt(sealed, _OAEP))
    except ValueError as err:
        raise EncryptionError("The data key in the archive cannot be decrypted.") from err

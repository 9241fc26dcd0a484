"""Compress and encrypt working files under a data key that only the relocation key opens."""

import os
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relocation.archive.keys import KEY_PADDING, load_private_key, load_public_key
from relocation.errors import ConfigurationError, StaleWorkError

_NONCE = 12


class Cipher:
    """Seal byte strings, each bound to its key in the storage."""

    def __init__(self, data_key: bytes) -> None:
        self._aes = AESGCM(data_key)

    def seal(self, key: str, data: bytes) -> bytes:
        """Compress and encrypt what is to be stored under the key."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aes.encrypt(nonce, zlib.compress(data, 1), key.encode())

    def unseal(self, key: str, sealed: bytes) -> bytes:
        """Return what was sealed; raises PermanentError when it was tampered with or moved."""
        try:
            data = self._aes.decrypt(sealed[:_NONCE], sealed[_NONCE:], key.encode())
        except (InvalidTag, ValueError) as err:
            raise damaged(key) from err
        return zlib.decompress(data)


def new_data_key() -> bytes:
    """Return a random key for AES-256-GCM."""
    return AESGCM.generate_key(256)


def wrap(data_key: bytes, public_pem: str) -> bytes:
    """Encrypt a data key for the relocation key; raises ConfigurationError when that is not RSA."""
    return load_public_key(public_pem).encrypt(data_key, KEY_PADDING)


def unwrap(wrapped: bytes, private_pem: str) -> bytes:
    """Decrypt a data key; raises ConfigurationError when it was wrapped for another key."""
    try:
        return load_private_key(private_pem).decrypt(wrapped, KEY_PADDING)
    except ValueError as err:
        raise ConfigurationError(
            "The relocation service's key was changed during this relocation. An operator must "
            "put the previous key back.",
            internal="the relocation key does not open the working form's data key",
        ) from err


def damaged(key: str) -> StaleWorkError:
    """Return the error for a working file that is not what was written."""
    return StaleWorkError(
        "A working file of this relocation is damaged.",
        internal=f"{key} is not what was written",
    )

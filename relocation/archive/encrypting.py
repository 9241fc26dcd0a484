"""Encrypt a Fernet token as a stream (T-3), in memory that does not grow with it."""

import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.padding import PKCS7

_VERSION = b"\x80"
_BLOCK = 16
_TRIPLE = 3
"""Bytes that make four characters of base64."""


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Take the bytes."""


class TokenWriter:
    """Writes a token of what it is given, piece by piece; whole once `close` has returned.

    `key` is one of Fernet's, as text. Makes what `Fernet` makes.
    """

    def __init__(self, key: bytes, out: Writable) -> None:
        raw = urlsafe_b64decode(key)
        signing, encryption = raw[:_BLOCK], raw[_BLOCK:]
        vector = os.urandom(_BLOCK)
        self._out = out
        self._held = b""
        self._hmac = HMAC(signing, SHA256())
        self._padder = PKCS7(AES.block_size).padder()
        self._encryptor = Cipher(AES(encryption), CBC(vector)).encryptor()
        self._sign(_VERSION + int(time.time()).to_bytes(8) + vector)

    def write(self, data: bytes) -> None:
        """Encrypt a piece."""
        self._sign(self._encryptor.update(self._padder.update(data)))

    def close(self) -> None:
        """Write what is left, and the signature."""
        last = self._encryptor.update(self._padder.finalize()) + self._encryptor.finalize()
        self._sign(last)
        self._encode(self._hmac.finalize())
        self._out.write(urlsafe_b64encode(self._held))
        self._held = b""

    def _sign(self, data: bytes) -> None:
        self._hmac.update(data)
        self._encode(data)

    def _encode(self, data: bytes) -> None:
        text = self._held + data
        cut = len(text) - len(text) % _TRIPLE
        self._out.write(urlsafe_b64encode(text[:cut]))
        self._held = text[cut:]

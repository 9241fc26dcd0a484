"""Read and write a Fernet token as a stream (T-3), in memory that does not grow with it."""

import io
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.padding import PKCS7

from relocation.errors import ArchiveError

Text = Callable[[], Iterator[bytes]]
"""Begins to read a token anew, piece by piece."""

_KEY = 32
_VERSION = b"\x80"
_TIME = 8
_BLOCK = 16
_SIGNATURE = 32
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_NOISE = bytes(set(range(256)) - set(_LETTERS))
_STANDARD = bytes.maketrans(b"-_", b"+/")
_QUAD = 4
_TRIPLE = 3
"""Bytes that make four characters of base64."""


class TokenKey:
    """The data key of an archive: half of it signs, half of it encrypts.

    Raises ValueError where the text is no key of Fernet.
    """

    def __init__(self, text: bytes) -> None:
        key = urlsafe_b64decode(text)
        if len(key) != _KEY:
            raise ValueError("a key has 32 bytes")
        self._signing, self._encryption = key[: _KEY // 2], key[_KEY // 2 :]

    def open(self, text: Text) -> BinaryIO:
        """Check the signature of all of a token, and return a stream of what it holds.

        The token is read twice, and checked the second time as well. Accepts what `Fernet` accepts.
        Raises ArchiveError, and the stream does where the padding is wrong or where the token is
        no longer what it was.
        """
        for _ in self._signed(text):
            pass  # no byte is decrypted before all of them were checked
        return io.BufferedReader(_Pieces(self._decrypted(text)))

    def _signed(self, text: Text) -> Iterator[bytes]:
        """Yield the token's bytes without their signature; raises where that does not fit."""
        hmac = HMAC(self._signing, SHA256())
        held, begun = b"", False
        for piece in _decoded(text()):
            held += piece
            if not begun and not held.startswith(_VERSION):
                raise _damaged()
            begun = True
            body, held = held[:-_SIGNATURE], held[-_SIGNATURE:]
            hmac.update(body)
            yield body
        try:
            hmac.verify(held)
        except InvalidSignature as err:
            raise _damaged() from err

    def _decrypted(self, text: Text) -> Iterator[bytes]:
        pieces = self._signed(text)
        start = b""
        while len(start) < 1 + _TIME + _BLOCK:
            piece = next(pieces, None)
            if piece is None:
                raise _damaged()
            start += piece
        head, rest = start[: 1 + _TIME + _BLOCK], start[1 + _TIME + _BLOCK :]
        decryptor = Cipher(AES(self._encryption), CBC(head[-_BLOCK:])).decryptor()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        yield unpadder.update(decryptor.update(rest))
        for piece in pieces:
            yield unpadder.update(decryptor.update(piece))
        try:
            decryptor.finalize()
            yield unpadder.finalize()
        except ValueError as err:
            raise _damaged() from err


def _decoded(text: Iterator[bytes]) -> Iterator[bytes]:
    """Decode base64 as `Fernet` does: in both alphabets, passing over whatever is not of them.

    Padding that completes four characters ends the token; elsewhere it counts for nothing.
    """
    held, padding = b"", 0
    for piece in text:
        for number, part in enumerate(piece.translate(_STANDARD, _NOISE).split(b"=")):
            if number and len(held) >= _QUAD // 2:
                padding += 1
                if len(held) + padding >= _QUAD:
                    yield a2b_base64(held.ljust(_QUAD, b"="))
                    return
            if part:
                padding, held = 0, held + part
                cut = len(held) - len(held) % _QUAD
                if cut:
                    yield a2b_base64(held[:cut])
                held = held[cut:]
    if held:
        raise _damaged()


def _damaged() -> ArchiveError:
    return ArchiveError("The export in the archive was damaged or changed after it was encrypted.")


class _Pieces(io.RawIOBase):
    """Byte strings as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        into = memoryview(buffer)
        size = min(len(into), len(self._held))
        into[:size] = self._held[:size]
        self._held = self._held[size:]
        return size


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

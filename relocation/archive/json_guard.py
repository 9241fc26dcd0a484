"""Watch JSON text on its way to the parser, for what the parser itself would not refuse.

The parser (yajl) lets a NUL through, puts a "?" for half of a surrogate pair, and builds a path for
each level of nesting, so that its memory grows with the square of the depth.
"""

import re
from itertools import accumulate
from typing import Protocol

MAX_DEPTH = 32
"""Deepest nesting taken, counting the list of records and the record."""
MAX_ELEMENT_BYTES = 8 * 1024 * 1024
MAX_VALUES = 250_000
"""Most commas and brackets in one element: empty lists take 30 times the memory of their text."""
PIECE = 16 * 1024  # bytes; larger pieces are slower, for a processor's cache

_BLANK = b" \t\r\n"
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89abAB])")
_UNSTORABLE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
"""The escape of a NUL, or of the first half of a surrogate pair without the second."""
_PAIR = 12  # bytes that the two escapes of a surrogate pair take
_STRING = re.compile(rb'"[^"]*"?')
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}",'))
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
_CLOSING = b"]}"


class Readable(Protocol):
    """What pieces are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next piece, empty at the end."""


class NotAListError(Exception):
    """The text does not begin with a list, but so."""

    def __init__(self, begin: bytes) -> None:
        super().__init__()
        self.begin = begin


class TooDeepError(Exception):
    """The text is nested more than MAX_DEPTH deep."""


class TooLargeError(Exception):
    """One element is longer than MAX_ELEMENT_BYTES."""


class TooManyValuesError(Exception):
    """One element holds more than MAX_VALUES commas and brackets."""


class JsonGuard:
    """Read JSON text in pieces that do not end within an escape sequence."""

    def __init__(self, source: Readable) -> None:
        self.suspicious = False
        """Whether some string so far holds a NUL, once it is parsed."""
        self._source = source
        self._pending = self._values = 0
        self._held = b""
        self._begun = False
        self._in_string = False
        self._within_string = False
        """Whether the last piece went on with a string, and brought nothing but that."""
        self._depth = 0

    def end_element(self) -> None:
        """Take note that the parser has come to the end of an element."""
        self._pending = self._values = 0

    def read(self, size: int = PIECE) -> bytes:
        """Return the next piece, empty at the end; half a surrogate pair becomes a NUL.

        So one check of the parsed strings finds both. The parser begins a string anew with every
        piece: one that goes on for long comes in pieces that grow with it. Raises the errors of
        this module.
        """
        wanted = self._pending
        pieces = [self._next(size)]
        while self._within_string and pieces[-1] and (wanted := wanted - len(pieces[-1])) > 0:
            pieces.append(self._next(size))
        return b"".join(pieces)

    def _next(self, size: int) -> bytes:
        while size:
            data = self._source.read(size)
            text = self._held + data
            cut = _safe_end(text) if data else len(text)
            self._held = text[cut:]
            if cut or not data:
                return self._follow(self._without_halves(text, cut))
        return b""

    def _without_halves(self, text: bytes, cut: int) -> bytes:
        # What looks unstorable beyond the cut may only be incomplete.
        if _SUSPECT.search(text) and (found := _UNSTORABLE.search(text)) and found.end() <= cut:
            self.suspicious = True
            text = _UNSTORABLE.sub(rb"\1\\u0000", text)
        return text[:cut]

    def _follow(self, piece: bytes) -> bytes:
        if not self._begun and (begin := piece.lstrip(_BLANK)):
            if not begin.startswith(b"[") or begin.startswith(b"[\0"):
                raise NotAListError(begin)
            self._begun = True
        self._pending += len(piece)
        if self._pending > MAX_ELEMENT_BYTES + PIECE:  # some may be of its neighbours
            raise TooLargeError
        quoted = _structure(piece, in_string=self._in_string)
        self._in_string = quoted.count(b'"') % 2 == 1
        structure = _STRING.sub(b"", quoted)
        self._within_string = self._in_string and not structure
        self._values += _values(structure)
        if self._values > MAX_VALUES:
            raise TooManyValuesError
        depths = _depths(structure, self._depth)
        if max(depths) > MAX_DEPTH:
            raise TooDeepError
        self._depth = depths[-1]
        return piece


def measure(text: bytes) -> tuple[int, int]:
    """Return how deep JSON text is nested, and about how many values it holds."""
    structure = _STRING.sub(b"", _structure(text, in_string=False))
    deepest = depth = 0
    for at in range(0, len(structure), PIECE):
        depths = _depths(structure[at : at + PIECE], depth)
        deepest, depth = max(deepest, *depths), depths[-1]
    return deepest, _values(structure)


def _structure(text: bytes, *, in_string: bool) -> bytes:
    """Return brackets, commas and quotes of a text that has no half of an escape sequence."""
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text
    structure = bare.translate(None, _NO_STRUCTURE)
    if in_string:
        structure = b'"' + structure
    # Two quotes side by side leave what is inside and outside of strings as it was.
    return structure.replace(b'""', b"")


def _values(structure: bytes) -> int:
    return len(structure.translate(None, _CLOSING))


def _depths(structure: bytes, depth: int) -> list[int]:
    steps = memoryview(structure.translate(_STEPS, b",")).cast("b")
    return list(accumulate(steps, initial=depth))


def _safe_end(text: bytes) -> int:
    """Return where to cut: before an escape that may go on, or pair up, beyond the end."""
    near = text.find(b"\\", max(0, len(text) - _PAIR))
    return len(text) if near < 0 else len(text[:near].rstrip(b"\\"))

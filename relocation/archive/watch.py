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
PIECE = 16 * 1024  # bytes; larger pieces are slower, for a processor's cache

_BLANK = b" \t\r\n"
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89abAB])")
_UNSTORABLE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
"""The escape of a NUL, or of the first half of a surrogate pair without the second."""
_PAIR = 12  # bytes that the two escapes of a surrogate pair take
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"?')
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")


class Readable(Protocol):
    """What pieces are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next piece, empty at the end."""


class NotAListError(Exception):
    """The text does not begin with a list."""


class TooDeepError(Exception):
    """The text is nested more than MAX_DEPTH deep."""


class TooLargeError(Exception):
    """One element is longer than MAX_ELEMENT_BYTES."""


class JsonWatch:
    """Read JSON text in pieces that do not end within an escape sequence."""

    def __init__(self, source: Readable) -> None:
        self.pending = 0
        """Bytes read since the reader last set it to 0, as it does after each element."""
        self.suspicious = False
        """Whether some string so far holds a NUL, once it is parsed."""
        self._source = source
        self._held = b""
        self._begun = False
        self._in_string = False
        self._depth = 0

    def read(self, size: int = PIECE) -> bytes:
        """Return the next piece, empty at the end; half a surrogate pair becomes a NUL.

        So one check of the parsed strings finds both. Raises the errors of this module.
        """
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
            if not begin.startswith(b"["):
                raise NotAListError
            self._begun = True
        self.pending += len(piece)
        if self.pending > MAX_ELEMENT_BYTES:
            raise TooLargeError
        structure = _structure(piece, in_string=self._in_string)
        self._in_string = structure.count(b'"') % 2 == 1
        depths = _depths(structure, self._depth)
        if max(depths) > MAX_DEPTH:
            raise TooDeepError
        self._depth = depths[-1]
        return piece


def depth_of(text: bytes) -> int:
    """Return how deep JSON text is nested."""
    return max(_depths(_structure(text, in_string=False), 0))


def _structure(text: bytes, *, in_string: bool) -> bytes:
    """Return the brackets and quotes of a text that has no half of an escape sequence."""
    structure = _ESCAPE.sub(b"", text).translate(None, _NO_STRUCTURE)
    if in_string:
        structure = b'"' + structure
    # Two quotes side by side leave what is inside and outside of strings as it was.
    return structure.replace(b'""', b"")


def _depths(structure: bytes, depth: int) -> list[int]:
    steps = memoryview(_STRING.sub(b"", structure).translate(_STEPS)).cast("b")
    return list(accumulate(steps, initial=depth))


def _safe_end(text: bytes) -> int:
    """Return where to cut: before an escape that may go on, or pair up, beyond the end."""
    near = text.find(b"\\", max(0, len(text) - _PAIR))
    return len(text) if near < 0 else len(text[:near].rstrip(b"\\"))

"""Read what an export holds as text in text: JSON, and lists as Python shows them.

Both come from strangers. One guard stands before their parsers, so that no text takes more memory
than an element of the export itself may, and turns whatever they raise into one error.
"""

import ast
import json
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final

from relocation.archive.json_guard import MAX_VALUES, measure

MAX_NESTED_DEPTH: Final = 200
"""Deepest nesting taken of a text in a text; what writes JSON again goes no deeper than 254."""

_RAISED = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError)
_QUOTED: Final = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+["]"""
_LIST = re.compile(rf"(?:[\s,\[\]]++|(?:{_QUOTED}|-?[\w.]++)(?=\s*[,\]]))*+", re.DOTALL)
"""Lists of plain values: anything deeper or longer can bring the parser of Python down."""
_STRING = re.compile(_QUOTED, re.DOTALL)
_MAX_ITEMS: Final = 50_000
_MAX_LIST_DEPTH: Final = 8


class UnreadableTextError(ValueError):
    """The text is not what was to be read; the error does not show it."""


def parse_json(text: str, read: Callable[[str], Any] = json.loads) -> Any:
    """Return the value that JSON text stands for; raises UnreadableTextError for any other."""
    return _guarded(_read_json, text, read)


def parse_list(value: Any) -> list[Any] | None:
    """Read a list, or the text that Python shows for one; None where it is neither."""
    if not isinstance(value, str):
        return value if isinstance(value, list) else None
    try:
        items: list[Any] = _guarded(_read_list, value)
    except UnreadableTextError:
        return None
    return items


def _guarded(parser: Callable[..., Any], *given: Any) -> Any:
    try:
        return parser(*given)
    except _RAISED:
        raise UnreadableTextError("the text cannot be read") from None


def _read_json(text: str, read: Callable[[str], Any]) -> Any:
    if text.count("[") + text.count("{") > MAX_NESTED_DEPTH or text.count(",") > MAX_VALUES:
        depth, values = measure(text.encode())
        if depth > MAX_NESTED_DEPTH or values > MAX_VALUES:
            raise UnreadableTextError
    return read(text)


def _read_list(text: str) -> Any:
    if text.count(",") > _MAX_ITEMS or not _LIST.fullmatch(text):
        raise UnreadableTextError
    bare = _STRING.sub("", text)
    steps = ((one == "[") - (one == "]") for one in bare if one in "[]")
    if max(accumulate(steps), default=0) > _MAX_LIST_DEPTH or bare.count("[") > _MAX_ITEMS:
        raise UnreadableTextError
    return ast.literal_eval(text.strip())

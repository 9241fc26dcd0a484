"""Tell text in another encoding than UTF-8 by how it begins."""

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    ("[".encode("utf-32-le"), "UTF-32"),
    ("[".encode("utf-32-be"), "UTF-32"),
    ("[".encode("utf-16-le"), "UTF-16"),
    ("[".encode("utf-16-be"), "UTF-16"),
)
"""In this order: a mark of UTF-16 begins one of UTF-32."""


def detect_encoding(begin: bytes) -> str | None:
    """Return the encoding of an export that begins so; None for UTF-8, and what is no export."""
    return next((name for mark, name in _MARKS if begin.startswith(mark)), None)

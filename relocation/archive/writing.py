"""Write records as an export has them (T-10, T-11)."""

from collections.abc import Iterable

import orjson

from relocation.archive.encrypting import Writable
from relocation.archive.record import Record

_PIECE = 256 * 1024


def write_export(records: Iterable[Record], out: Writable) -> None:
    """Write the records as a compact JSON array, in memory bounded by the largest."""
    piece = bytearray(b"[")
    for number, record in enumerate(records):
        piece += (b"," if number else b"") + orjson.dumps(record._asdict())
        if len(piece) >= _PIECE:
            out.write(bytes(piece))
            piece.clear()
    out.write(bytes(piece + b"]"))

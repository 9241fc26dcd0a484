"""Read and write the records of an export (T-10, T-11)."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple

import orjson
from ijson.backends import yajl2_c
from ijson.common import JSONError

from relocation.archive.fast_parser import FastParser
from relocation.archive.fernet_stream import Writable
from relocation.archive.json_guard import (
    MAX_DEPTH,
    MAX_ELEMENT_BYTES,
    MAX_VALUES,
    PIECE,
    JsonGuard,
    NotAListError,
    Readable,
    TooDeepError,
    TooLargeError,
    TooManyValuesError,
)
from relocation.errors import ExportError
from relocation.text import one_line

MAX_PK = 2**63 - 1

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

_MODEL = re.compile(r"[a-z][a-z0-9_]{0,49}\.[a-z][a-z0-9_]{0,99}")
_PIECE = 256 * 1024


class Record(NamedTuple):
    """A row as the export writes it (T-11)."""

    model: str
    pk: int
    fields: dict[str, Any]


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """Yield the records one by one, in memory bounded by the largest.

    Raises PermanentError that names the element, counted from 1. Of a name given twice in one
    object the last counts, as in the reference. Natural keys pass unchanged (T-13).
    """
    ordinal, model = 0, ""
    parser = FastParser(stream)
    for elements in parser:
        for ordinal, element in enumerate(elements, ordinal + 1):  # noqa: B020 - goes on counting
            record = _record(element, ordinal, known=model)
            model = record.model
            yield record
    yield from read_carefully(parser.rest, ordinal, model)


def read_carefully(stream: Readable, done: int = 0, model: str = "") -> Iterator[Record]:
    """Yield the records one by one; `done` came before them, the last of them of this model.

    Raises as `read_records` does, which is quicker.
    """
    ordinal = done
    guard = JsonGuard(stream)
    elements = yajl2_c.items(guard, "item", use_float=True, buf_size=PIECE)
    try:
        for ordinal, element in enumerate(elements, done + 1):
            guard.end_element()
            record = _record(element, ordinal, known=model)
            if guard.suspicious:
                _check_text(element, ordinal, record.model)
            model = record.model
            yield record
    except NotAListError as err:
        raise ExportError(_no_list_reason(err.begin)) from None
    except TooDeepError:
        raise ExportError(
            f"The export nests values more than {MAX_DEPTH} levels deep, in or after element "
            f"{ordinal + 1}."
        ) from None
    except TooLargeError:
        raise ExportError(
            f"Element {ordinal + 1} of the export is larger than {MAX_ELEMENT_BYTES >> 20} MiB."
        ) from None
    except TooManyValuesError:
        raise ExportError(
            f"Element {ordinal + 1} of the export contains more than {MAX_VALUES:,} values, lists "
            "and objects."
        ) from None
    except UnicodeDecodeError:
        raise ExportError(_not_unicode(ordinal + 1)) from None
    except JSONError as err:
        # The parser quotes the export, which holds personal data: its error must not be chained.
        raise ExportError(_parse_reason(str(err), ordinal)) from None
    except (ValueError, OverflowError, RecursionError):
        raise ExportError(_parse_reason("", ordinal)) from None


def _record(element: Any, ordinal: int, *, known: str) -> Record:
    """Check the shape of an element; a model equal to `known` was checked before."""
    try:
        model, pk, fields = element["model"], element["pk"], element["fields"]
    except (TypeError, KeyError):
        raise ExportError(_shape_reason(element, ordinal)) from None
    if (model != known or not known) and not (type(model) is str and _MODEL.fullmatch(model)):
        raise ExportError(
            f'Element {ordinal} of the export has a "model" that is not a model name.'
        )
    if type(pk) is not int or not 1 <= pk <= MAX_PK:
        raise ExportError(
            f'Element {ordinal} of the export ({model}) has a "pk" that is not '
            f"a whole number from 1 to {MAX_PK}."
        )
    if type(fields) is not dict:
        raise ExportError(
            f'Element {ordinal} of the export ({model}) has "fields" that is not an object.'
        )
    return Record(model, pk, fields)


def _shape_reason(element: Any, ordinal: int) -> str:
    if not isinstance(element, dict):
        return f"Element {ordinal} of the export is not an object."
    model = element.get("model")
    named = f" ({model})" if isinstance(model, str) and _MODEL.fullmatch(model) else ""
    missing = next(name for name in ("model", "pk", "fields") if name not in element)
    return f'Element {ordinal} of the export{named} has no "{missing}".'


def _check_text(element: dict[str, Any], ordinal: int, model: str) -> None:
    if not _holds_nul(element):
        return
    fields = element["fields"]
    bad = next((name for name in fields if _holds_nul({name: fields[name]})), None)
    where = f' in its field "{one_line(bad, limit=60)}"' if bad else ""
    raise ExportError(
        f"Element {ordinal} of the export ({model}) contains a character{where} that can't be "
        "stored: a NUL or half of a surrogate pair."
    )


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in name or _holds_nul(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def _no_list_reason(begin: bytes) -> str:
    encoding = detect_encoding(begin)
    if encoding:
        return f"The export is text in {encoding}. It must be UTF-8 without a byte order mark."
    return "The export is not a JSON list of records like the one the export command writes."


def _not_unicode(ordinal: int) -> str:
    return f"Element {ordinal} of the export contains text that is not valid Unicode."


def _parse_reason(message: str, ordinal: int) -> str:
    """Say in plain words what the parser complains of, after `ordinal` good elements."""
    if "premature EOF" in message:
        if not ordinal:
            return "The export is empty or cut off before its first element. Upload it again."
        return f"The export is cut off after element {ordinal}. Upload it again."
    if "trailing garbage" in message:
        return f"The export continues after the end of its list of {ordinal} elements."
    if "overflow" in message:
        return f"Element {ordinal + 1} of the export contains a number that is too large."
    if "UTF8" in message:
        return _not_unicode(ordinal + 1)
    return f"The export is not valid JSON in or just before element {ordinal + 1}."


def write_export(records: Iterable[Record], out: Writable) -> None:
    """Write the records as a compact JSON array, in memory bounded by the largest."""
    piece = bytearray(b"[")
    for number, record in enumerate(records):
        piece += (b"," if number else b"") + orjson.dumps(record._asdict())
        if len(piece) >= _PIECE:
            out.write(bytes(piece))
            piece.clear()
    out.write(bytes(piece + b"]"))


def detect_encoding(begin: bytes) -> str | None:
    """Return the encoding of an export that begins so; None for UTF-8, and what is no export."""
    return next((name for mark, name in _MARKS if begin.startswith(mark)), None)

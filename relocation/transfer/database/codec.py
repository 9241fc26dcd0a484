"""Turn an export's values into a column's and back (spec 1.3).

Which form a value takes is decided by the catalogue's field type and by the type that the column
really has: the same field is text in one destination and JSON in the next.
"""

import ipaddress
import json
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import orjson
from sqlalchemy import ARRAY, JSON, Column, DateTime, Float, Integer, SmallInteger, String, Uuid
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.types import BigInteger, TypeEngine

from relocation.catalogue import Field, FieldType
from relocation.transfer.database.nested import UnreadableTextError, parse_json, parse_list

Convert = Callable[[Any], Any]


class UnfitValueError(ValueError):
    """A value that a column cannot take; the message goes on from the field's name."""


_HEX_LENGTH: Final = 32
_FLAGS = re.compile(r"-?[0-9]{1,19}")
_JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def encoder(field: Field, column: Column[Any]) -> Convert:
    """Return the function that turns an export's value of this field into the column's.

    The function raises UnfitValueError ("is not a date") for what the column cannot take, and
    never shows the value. Null stays null.
    """
    encode = _encoder(field, column)
    if field.type is FieldType.OPTION:
        return encode
    return lambda value: None if value is None else encode(value)


def decoder(field: Field, column: Column[Any]) -> Convert:
    """Return the function that turns the column's value into the export's canonical form."""
    decode = _decoder(field, column)
    if decode is unchanged:
        return unchanged
    return lambda value: None if value is None else decode(value)


def format_datetime(moment: datetime) -> str:
    """Write a moment as an export does: UTC, milliseconds, microseconds truncated.

    A naive moment is in UTC.
    """
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_datetime(text: Any) -> datetime:
    """Read an ISO date and time with or without fraction and offset; the result is aware, in UTC.

    Raises UnfitValueError for anything else.
    """
    if not isinstance(text, str):
        raise UnfitValueError("is not a date")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise UnfitValueError("is not a date") from err


def _encoder(field: Field, column: Column[Any]) -> Convert:
    stored = column.type
    if isinstance(stored, JSON):
        return _JSON_ENCODERS.get(field.type, _checked_json)
    if isinstance(stored, ARRAY):
        return _array_of(stored.item_type)
    if isinstance(stored, Uuid):
        return _parse_uuid
    if isinstance(stored, INET):
        return _address
    text = _text(stored.length if isinstance(stored, String) else None)
    by_type: dict[FieldType, Convert] = {
        FieldType.DATETIME: _moment(column),
        FieldType.BOOLEAN: _boolean,
        FieldType.FLOAT: _float,
        FieldType.FLAGS: _ranged(_flags, 64),
        FieldType.INTEGER: _ranged(_integer, column_bits(column)),
        FieldType.BIGINT: _ranged(_integer, column_bits(column)),
        FieldType.JSON: _json_text,
        FieldType.JSON_TEXT: lambda value: text(
            value if isinstance(value, str) else _json_text(value)
        ),
        FieldType.OPTION: _option_text(text, null=None if column.nullable else "null"),
    }
    return by_type.get(field.type, text)


def _decoder(field: Field, column: Column[Any]) -> Convert:
    kind, stored = field.type, column.type
    if isinstance(stored, JSON):
        if kind is FieldType.ARRAY:
            return str
        return _json_text if kind is FieldType.TEXT else unchanged
    if isinstance(stored, (ARRAY, INET)):
        return str
    if isinstance(stored, Uuid):
        return _write_uuid(short=field.length == _HEX_LENGTH)
    by_type: dict[FieldType, Convert] = {
        FieldType.DATETIME: format_datetime,
        FieldType.BOOLEAN: bool,
        FieldType.FLOAT: float,
        FieldType.FLAGS: str,
        FieldType.JSON: parse_stored_json,
        FieldType.OPTION: _option_value,
    }
    return by_type.get(kind, unchanged)


def unchanged(value: Any) -> Any:
    """Return the value: the decoder of most columns."""
    return value


def _text(limit: int | None) -> Convert:
    def encode(value: Any) -> str:
        if not isinstance(value, str):
            raise UnfitValueError("is not text")
        if limit is not None and len(value) > limit:
            raise UnfitValueError(f"has {len(value)} characters; at most {limit} fit")
        if "\0" in value:
            raise UnfitValueError("holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError as err:
            raise UnfitValueError("holds half a character") from err
        return value

    return encode


def _moment(column: Column[Any]) -> Convert:
    if isinstance(column.type, DateTime) and not column.type.timezone:
        return lambda value: parse_datetime(value).replace(tzinfo=None)
    return parse_datetime


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnfitValueError("is not true or false")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnfitValueError("is not a number")
    try:
        number = float(value)
    except OverflowError as err:
        raise UnfitValueError("is too large a number") from err
    if not isfinite(number):
        raise UnfitValueError("is not a finite number")
    return number


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnfitValueError("is not a whole number")
    return value


def _flags(value: Any) -> int:
    if isinstance(value, str) and _FLAGS.fullmatch(value):
        return int(value)
    return _integer(value)


def _ranged(convert: Callable[[Any], int], bits: int) -> Convert:
    bound = 1 << (bits - 1)

    def encode(value: Any) -> int:
        number = convert(value)
        if not -bound <= number < bound:
            raise UnfitValueError(f"does not fit into {bits} bits")
        return number

    return encode


def column_bits(column: Column[Any]) -> int:
    """Return the width of an integer column; SQLite has one width, whatever a column is called."""
    table = getattr(column, "table", None)
    if table is None or table.info.get("dialect") != "postgresql":
        return 64
    if isinstance(column.type, BigInteger):
        return 64
    if isinstance(column.type, SmallInteger):
        return 16
    return 32 if isinstance(column.type, Integer) else 64


def _json_text(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as err:
        raise UnfitValueError("is not JSON") from err
    return text


def _checked_json(value: Any) -> Any:
    """Return a value for a JSON column, which holds what JSON's text can, except NUL."""
    with suppress(orjson.JSONEncodeError):
        text = orjson.dumps(value)
        if b"null" not in text and b"\\u0000" not in text:  # it writes null for what is no number
            return value
    if _JSON_NUL.search(_json_text(value)):
        raise UnfitValueError("holds a NUL character")
    return value


def _parse_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except UnreadableTextError as err:
        raise UnfitValueError("is not JSON") from err


def parse_stored_json(value: Any) -> Any:
    """Return the value that JSON text stands for, or the text where it is none."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except UnreadableTextError:
        return value  # written by hand, or by a version that did not write JSON


def _option_text(text: Convert, *, null: str | None) -> Convert:
    """Return the encoder of an option's text; `null` is what the column holds for a null."""

    def encode(value: Any) -> Any:
        if value is None or value == "null":
            return null
        return text(value if isinstance(value, str) else _json_text(value))

    return encode


def _option_value(text: Any) -> Any:
    """Return a stored option: the number, truth value or null that the text is, else the text.

    Text that is a number in another spelling than ours stays text, so that nothing is lost.
    """
    try:
        value = parse_json(text)
    except UnreadableTextError:
        return text
    if isinstance(value, (dict, list, str)) or (isinstance(value, float) and not isfinite(value)):
        return text
    return value if _json_text(value) == text else text


def _parse_array(value: Any) -> list[Any]:
    items = parse_list(value)
    if items is None:
        raise UnfitValueError("is not a list")
    return items


def _array_of(item_type: TypeEngine[Any]) -> Convert:
    """Return the encoder of a list, or of lists within lists, whose items have one type."""
    item: Convert = _text(getattr(item_type, "length", None))
    if isinstance(item_type, Float):
        item = _float
    elif isinstance(item_type, Integer):
        item = _integer

    def items(values: list[Any]) -> list[Any]:
        return [
            items(one) if isinstance(one, list) else one if one is None else item(one)
            for one in values
        ]

    return lambda value: items(_parse_array(value))


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_interface(value) if "/" in value else ipaddress.ip_address(value))
    except (TypeError, ValueError) as err:
        raise UnfitValueError("is not an IP address") from err


def _parse_uuid(value: Any) -> uuid.UUID:
    if not isinstance(value, str):
        raise UnfitValueError("is not a UUID")
    try:
        return uuid.UUID(value)
    except ValueError as err:
        raise UnfitValueError("is not a UUID") from err


_JSON_ENCODERS: dict[FieldType, Convert] = {
    FieldType.ARRAY: _parse_array,
    FieldType.TEXT: lambda value: _checked_json(_parse_json(value)),
    FieldType.JSON_TEXT: lambda value: _checked_json(_parse_json(value)),
}


def _write_uuid(*, short: bool) -> Convert:
    def decode(value: Any) -> str:
        identifier = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        return identifier.hex if short else str(identifier)

    return decode

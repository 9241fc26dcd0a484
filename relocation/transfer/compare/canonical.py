"""Bring values of exports into one form, so that only their meaning is compared (spec 1.3)."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import orjson

from relocation.catalogue import Field, FieldType
from relocation.transfer.database.codec import UnfitValueError, format_datetime, parse_datetime
from relocation.transfer.database.nested import parse_json, parse_list


def canonical(field: Field, value: Any) -> Any:
    """Return a value that is equal for equal meanings: a scalar, whatever was written.

    Dates lose what is below a millisecond, JSON its spelling. What does not fit the field's type
    stays as it is: whether it may be there is not for a comparison to say.
    """
    if value is None:
        return None
    bring = _FORMS.get(field.type)
    return value if bring is None else bring(value)


def written_alike(left: Any, right: Any) -> bool:
    """Tell quickly of most values that mean the same that they do; of others it tells nothing."""
    if type(left) is type(right) and not isinstance(left, (dict, list)):
        return bool(left == right)
    with suppress(orjson.JSONEncodeError, UnicodeEncodeError):  # a number beyond 64 bits
        if isinstance(left, (dict, list)) and isinstance(right, str):  # JSON in a column of text
            return orjson.dumps(left) == right.encode()
        if type(left) is type(right):
            one, other = (orjson.dumps(side, option=orjson.OPT_SORT_KEYS) for side in (left, right))
            return one == other
    return False


def same(left: Any, right: Any) -> bool:
    """Tell whether two canonical values are equal; true is not 1."""
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _date(value: Any) -> Any:
    try:
        return format_datetime(parse_datetime(value))
    except UnfitValueError:
        return value


def _list(value: Any) -> Any:
    items = parse_list(value)
    return value if items is None else str(items)


def _flags(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _float(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    except OverflowError:
        return value


def _json(value: Any, *, bare: bool) -> Any:
    """Spell objects and lists alike; with `bare`, read numbers and truth values from text too.

    A string in a string keeps its quotes: a value that was encoded twice is another value (W-24).
    """
    if isinstance(value, str) and not bare and value.lstrip()[:1] not in {"{", "["}:
        return value
    try:
        parsed = parse_json(value, _READER.decode) if isinstance(value, str) else value
        if isinstance(parsed, (dict, list)):
            return json.dumps(_whole_floats(parsed), sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return value
    return value if isinstance(parsed, str) or not bare else parsed


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_READER: Final = json.JSONDecoder(parse_float=_number, parse_constant=_refuse)


def _whole_floats(value: Any) -> Any:
    """Write 2.0 as 2: databases do not agree on which of the two they give back."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_floats(item) for item in value]
    return value


_FORMS: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.DATETIME: _date,
    FieldType.ARRAY: _list,
    FieldType.FLAGS: _flags,
    FieldType.FLOAT: _float,
    FieldType.OPTION: partial(_json, bare=True),
    FieldType.JSON: partial(_json, bare=False),
    FieldType.JSON_TEXT: partial(_json, bare=False),
    FieldType.TEXT: partial(_json, bare=False),
}

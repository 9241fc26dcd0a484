"""Values that say nothing, for columns that we do not know and that must have one."""

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ARRAY, Column, Enum

_VALUES: Final[Mapping[type, Any]] = {
    str: "",
    int: 0,
    float: 0.0,
    Decimal: Decimal(0),
    bool: False,
    bytes: b"",
    date: date(1970, 1, 1),
    time: time(),
    timedelta: timedelta(),
    datetime: datetime(1970, 1, 1, tzinfo=UTC),
    uuid.UUID: uuid.UUID(int=0),
    dict: {},
    list: [],
}


def neutral_value(column: Column[Any]) -> Any:
    """Return what says nothing: no text, zero, the first of a list of choices.

    None where the column's type is not known either.
    """
    if isinstance(column.type, Enum):
        return column.type.enums[0] if column.type.enums else None
    if isinstance(column.type, ARRAY):
        return []
    try:
        value = _VALUES.get(column.type.python_type)
    except NotImplementedError:
        return None
    if isinstance(value, datetime) and not getattr(column.type, "timezone", False):
        return value.replace(tzinfo=None)
    return value

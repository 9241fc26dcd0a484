"""Turn the drafts of a chunk into columns, which is much quicker than row by row."""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any, Final

from sqlalchemy import ARRAY, JSON, Column, String, Uuid
from sqlalchemy.dialects.postgresql import INET

from relocation.catalogue import Field, FieldType
from relocation.transfer.database.codec import column_bits, encoder
from relocation.transfer.load.batch import PendingRow

_ALIKE: Final = frozenset({str, int, bool})
"""Types whose equal values are the same; true is 1, and 0.0 is -0.0."""
_SAVING: Final = 2
"""How often a value occurs, on average, for which looking it up is worth while."""
_CONVERTED: Final = frozenset(
    {
        FieldType.DATETIME,
        FieldType.FLAGS,
        FieldType.FLOAT,
        FieldType.JSON,
        FieldType.JSON_TEXT,
        FieldType.OPTION,
    }
)
"""Fields whose values a column holds in another form than an export writes."""

Fits = Callable[[Sequence[Any]], bool]


class ColumnEncoder:
    """Encode many values of one field at once, as `encoder` does each of them."""

    def __init__(self, field: Field, column: Column[Any]) -> None:
        self.one = encoder(field, column)
        self._fit = _fit(field, column)

    def all(self, values: Sequence[Any]) -> Sequence[Any]:
        """Encode values; raises UnfitValueError when one of them does not fit.

        Together where they go into the column as they are, and each of them once where few are many
        times the same.
        """
        kinds = set(map(type, values))
        some = values
        if type(None) in kinds:
            kinds.discard(type(None))
            some = [value for value in values if value is not None]
        if len(kinds) == 1 and kinds <= _ALIKE:
            if self._fit(some):
                return values
            distinct = set(values)
            if len(distinct) * _SAVING <= len(values):
                known = {value: self.one(value) for value in distinct}
                return [known[value] for value in values]
        return list(map(self.one, values))


def _fit(field: Field, column: Column[Any]) -> Fits:
    """Return the function that says whether values of one type go into a column as they are."""
    if field.type in _CONVERTED or isinstance(column.type, (JSON, ARRAY, Uuid, INET)):
        return lambda _values: False
    if field.type is FieldType.BOOLEAN:
        return lambda values: isinstance(values[0], bool)
    if field.type in {FieldType.INTEGER, FieldType.BIGINT}:
        bound = 1 << (column_bits(column) - 1)
        return lambda values: (
            type(values[0]) is int and -bound <= min(values) <= max(values) < bound
        )
    limit = column.type.length if isinstance(column.type, String) else None
    return lambda values: isinstance(values[0], str) and _texts_fit(values, limit)


def _texts_fit(values: Sequence[str], limit: int | None) -> bool:
    if limit is not None and max(map(len, values)) > limit:
        return False
    joined = "".join(values)
    if "\0" in joined:
        return False
    try:
        joined.encode()
    except UnicodeEncodeError:
        return False
    return True


def group_by_fields(drafts: list[PendingRow]) -> list[list[PendingRow]]:
    """Part the drafts by the fields they have."""
    used = set[str]().union(*(draft.values for draft in drafts))
    if all(len(draft.values) == len(used) for draft in drafts):
        return [drafts] if drafts else []
    groups: dict[frozenset[str], list[PendingRow]] = {}
    for draft in drafts:
        groups.setdefault(frozenset(draft.values), []).append(draft)
    return list(groups.values())


def without_nulls(
    columns: dict[str, Sequence[Any]], defaulted: frozenset[str]
) -> Iterator[dict[str, Sequence[Any]]]:
    """Part rows so that each leaves out the columns in which a default stands in for its null."""
    holed = [name for name in columns if name in defaulted and None in columns[name]]
    if not holed:
        yield columns
        return
    holes = list(zip(*([value is None for value in columns[name]] for name in holed), strict=True))
    for pattern in dict.fromkeys(holes):
        left_out = set(compress(holed, pattern))
        chosen = [hole == pattern for hole in holes]
        yield {
            name: list(compress(values, chosen))
            for name, values in columns.items()
            if name not in left_out
        }

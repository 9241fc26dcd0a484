"""The keys and references of one model's records, as numbers, and what was decided of each."""

from array import array
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any

from relocation.archive.records import Record
from relocation.catalogue import Model

USER = "sentry.user"

NULL = -(2**63)
"""A reference that does not decide: no key can be this low."""
ABSENT = -1
"""The row of a record that is out of scope."""


class State(IntEnum):
    """What was decided of a record; of several references the one to the highest state decides."""

    UNDECIDED = 0
    SELECTED = 1
    OTHER = 2
    """Of an organization that is not wanted."""
    OUTSIDE = 3
    """Hangs on a record that is out of scope."""


def natural_key(value: object) -> str | None:
    """Return the username that stands for a reference in very old files (T-13)."""
    if type(value) is list and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return None


class KeyTable:
    """A row for each record, in the order added.

    `tree` names the models whose references decide, `user_field` a reference to a user that does.
    """

    def __init__(self, model: Model, tree: Collection[str], user_field: str | None) -> None:
        self.name = model.name
        self.index: dict[int, int] = {}
        """The row of each pk."""
        self.state = bytearray()
        self.targets = {
            field: key.to for field, key in model.foreign_keys.items() if key.to in tree
        }
        """The model to which each deciding field leads."""
        fields = [*self.targets, *([user_field] if user_field else [])]
        self.columns = {field: array("q") for field in fields}
        self.usernames: set[str] = set()
        """Those that stand for a reference."""
        self.unresolved: list[tuple[str, int, str]] = []
        """Field, row and username of each natural key in a column."""
        self._appends = [(field, column.append) for field, column in self.columns.items()]
        self._people = [field for field, key in model.foreign_keys.items() if key.to == USER]

    def add(self, pk: int, fields: Mapping[str, Any]) -> bool:
        """Append a row; False when the pk has one. Raises OverflowError beyond 64 bits."""
        if pk in self.index:
            return False
        self.index[pk] = len(self.state)
        for field in self._people:
            if type(fields.get(field)) is list:
                self._note_natural_key(field, natural_key(fields[field]))
        for field, append in self._appends:
            value = fields.get(field)
            append(value if type(value) is int else NULL)
        self.state.append(State.UNDECIDED)
        return True

    def add_all(self, records: Sequence[Record]) -> bool:
        """Append a row for each record; False, and none is added, where one of them is odd.

        Raises OverflowError beyond 64 bits, and adds none either.
        """
        pks = [record.pk for record in records]
        new = set(pks)
        if len(new) < len(pks) or not self.index.keys().isdisjoint(new):
            return False
        for field in self._people:
            if list in {type(record.fields.get(field)) for record in records}:
                return False
        columns = []
        for field in self.columns:
            values = [record.fields.get(field) for record in records]
            columns.append(array("q", [v if type(v) is int else NULL for v in values]))
        begin = len(self.state)
        self.index.update(zip(pks, range(begin, begin + len(pks)), strict=True))
        for column, more in zip(self.columns.values(), columns, strict=True):
            column.extend(more)
        self.state.extend(bytes(len(pks)))
        return True

    def follow(self, column: "array[int]", target: "KeyTable") -> None:
        """Raise the state of each row to that of the record its reference leads to."""
        state, index, states = self.state, target.index, target.state
        for row, pk in enumerate(column):
            found = index.get(pk)
            if found is not None:
                verdict = State.OUTSIDE if found == ABSENT else states[found]
                state[row] = max(state[row], verdict)

    def select(self, pk: int) -> None:
        """Select the record with the pk, where there is one."""
        row = self.index.get(pk, ABSENT)
        if row != ABSENT:
            self.state[row] = State.SELECTED

    def selects(self, pk: int) -> bool:
        """Say whether there is a record with the pk and it is selected."""
        row = self.index.get(pk, ABSENT)
        return row != ABSENT and self.state[row] == State.SELECTED

    def _note_natural_key(self, field: str, username: str | None) -> None:
        if username is not None:
            self.usernames.add(username)
            if field in self.columns:
                self.unresolved.append((field, len(self.state), username))

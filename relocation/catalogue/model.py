"""What the catalogue says of a model: table, fields, references, scopes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any


class Scope(StrEnum):
    """What a model belongs to, and what an import or export admits (S-1, S-2)."""

    USER = "User"
    ORGANIZATION = "Organization"
    CONFIG = "Config"
    GLOBAL = "Global"

    @property
    def admits(self) -> frozenset["Scope"]:
        """The model scopes that a run under this scope takes in (S-2)."""
        return _ADMITTED[self]


_ADMITTED = {
    Scope.USER: frozenset({Scope.USER}),
    Scope.ORGANIZATION: frozenset({Scope.USER, Scope.ORGANIZATION}),
    Scope.CONFIG: frozenset({Scope.USER, Scope.CONFIG}),
    Scope.GLOBAL: frozenset(Scope),
}


class FieldType(StrEnum):
    """How a value is written in an export (spec 1.3)."""

    INTEGER = "integer"
    BIGINT = "bigint"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATETIME = "datetime"
    JSON = "json"
    JSON_TEXT = "json_text"
    """A JSON value, or the text of one: older versions write text, newer ones the value."""
    FLAGS = "flags"
    """A bit field: a decimal number in a string."""
    ARRAY = "array"
    """A list of strings in Python's display form, in a string."""
    OPTION = "option"
    """A JSON value; where it is a string, that string is itself JSON text."""


@dataclass(frozen=True)
class Field:
    """One column of a model, by the name it has in an export."""

    name: str
    type: FieldType
    length: int | None = None
    """Most characters an embedded destination takes; a real destination's columns are reflected."""
    required: bool = False
    column: str | None = None
    """The name of its column, where the product gives it another than the ORM would."""
    until: str | None = None
    """The release line that took it away; an embedded destination is newer, and has none."""
    widest: Any = None
    """The value that lets most people in; any other narrows access, and must not be lost."""


@dataclass(frozen=True)
class ForeignKey:
    """A reference from a field to another model's primary key (S-5)."""

    field: str
    to: str
    kind: str
    nullable: bool


@dataclass(frozen=True)
class Model:
    """One model of the catalogue."""

    name: str
    table: str
    silo: str
    scopes: frozenset[Scope]
    fields: Mapping[str, Field]
    foreign_keys: Mapping[str, ForeignKey]
    uniques: tuple[tuple[str, ...], ...]
    extra_dependencies: tuple[str, ...]
    position: int
    """Its place in the dependency order (I-4): no model comes before one it points at."""
    until: str | None = None
    """The release line that took it away; an embedded destination is newer, and has none."""

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Map each field to its database column: the ORM adds `_id` to its references (T-11)."""
        return {name: self._column(name) for name in self.fields}

    def _column(self, field: str) -> str:
        named, key = self.fields[field].column, self.foreign_keys.get(field)
        if named is not None:
            return named
        bare = key is not None and key.kind not in {"HybridCloudForeignKey", "ImplicitForeignKey"}
        return f"{field}_id" if bare else field

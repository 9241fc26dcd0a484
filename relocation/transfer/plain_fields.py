"""Fields that the catalogue does not know: which of them may move as they are (DESIGN 8).

A newer version's plain value goes where a column of its name takes it. What may name a record, let
somebody in, or say what a person may do, never does.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import isfinite
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    Float,
    Integer,
    Numeric,
    String,
    Table,
)
from sqlalchemy.types import TypeEngine

from relocation.catalogue import Field, FieldType, Model

_WORDS: Final = """
id ids pk uuid guid key keys token tokens secret secrets password passwords hash credential
credentials role roles permission permissions scope scopes superuser staff admin
"""
_MODELS: Final = """
apiapplication apiauthorization apigrant apikey apitoken authenticator authidentity authprovider
dataforwarder dataforwarderproject email organizationmember organizationmemberinvite
organizationmemberteam orgauthtoken projectkey relay relayusage sentryapp sentryappinstallation
servicehook user useremail userip useroption userpermission userrole userroleuser
"""
_SENSITIVE_WORDS: Final = frozenset(_WORDS.split())
_SENSITIVE_MODELS: Final = frozenset(f"sentry.{name}" for name in _MODELS.split())
"""Models of people, keys, tokens and sign-in."""
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_TYPES: Final[tuple[tuple[type[TypeEngine[Any]], FieldType], ...]] = (
    (Boolean, FieldType.BOOLEAN),
    (BigInteger, FieldType.BIGINT),
    (Integer, FieldType.INTEGER),
    (Numeric, FieldType.FLOAT),
    (Float, FieldType.FLOAT),
    (DateTime, FieldType.DATETIME),
    (Enum, FieldType.TEXT),
    (String, FieldType.TEXT),
)


@cache
def may_move(model: str, field: str) -> bool:
    """Tell whether an unknown field of a model may move, by its name."""
    words = [word.lower() for word in _WORD.findall(field)]
    named = not words or words[-1] == "by" or not _SENSITIVE_WORDS.isdisjoint(words)
    return model not in _SENSITIVE_MODELS and not named


def is_plain(value: Any) -> bool:
    """Tell whether a value is a boolean, a number, or a text that holds no structure."""
    if isinstance(value, float) and not isfinite(value):
        return False
    if value is not None and not isinstance(value, (bool, int, float, str)):
        return False
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number beyond 64 bits, half a character
        return False
    return not isinstance(value, str) or not _is_structure(value)


def _is_structure(text: str) -> bool:
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def with_plain_fields(model: Model, table: Table) -> Model:
    """Return the model with what the table has beyond it and that may be moved as it is."""
    known = {"id", *model.columns.values()}
    more: Mapping[str, Field] = {
        column.name: field
        for column in table.columns
        if column.name not in known and (field := _field(model.name, column)) is not None
    }
    return replace(model, fields={**model.fields, **more}) if more else model


def _field(model: str, column: Column[Any]) -> Field | None:
    if column.foreign_keys or column.computed is not None or not may_move(model, column.name):
        return None
    for stored, kind in _TYPES:
        if isinstance(column.type, stored):
            return Field(column.name, kind)
    return None

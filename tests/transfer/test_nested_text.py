"""Text in text is read behind one guard, whoever wrote it."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.archive.json_guard import MAX_VALUES
from relocation.catalogue import Field, FieldType
from relocation.transfer.compare.canonical import canonical
from relocation.transfer.database.codec import parse_stored_json
from relocation.transfer.database.nested import (
    MAX_NESTED_DEPTH,
    UnreadableTextError,
    parse_json,
    parse_list,
)

HOSTILE_JSON = {
    "2,000 brackets": "[" * 2000,
    "as deep as Python goes": "[" * 900 + "]" * 900,
    "100,000 brackets": "[" * 100_000 + "]" * 100_000,
    "100,000 objects": '{"a":' * 100_000,
    "a million empty lists": "[" + "[]," * 1_000_000 + "[]]",
    "a million empty objects": "[" + "{}," * 1_000_000 + "{}]",
    "a number of 5,000 digits": "9" * 5000,
    "nothing": "",
    "half a surrogate pair": '"\ud800',
    "a NUL": "\0",
}
HOSTILE_LISTS = {
    "2,000 brackets": "[" * 2000 + "]" * 2000,
    "a million empty lists": "[" + "[]," * 1_000_000 + "]",
    "a million items": "[" + "1," * 1_000_000 + "]",
    "a sum of a million": "[" + "1+" * 1_000_000 + "1]",
    "a million signs": "[" + "-" * 1_000_000 + "1]",
    "a million texts in a row": "[" + "'a' " * 1_000_000 + "]",
    "a million tuples": "[" + "(" * 1_000_000,
    "an open text": "['" + "a" * 1_000_000,
    "only backslashes": "['" + "\\" * 1_000_001 + "']",
    "a call": "[__import__('os').getpid()]",
    "a number of 5,000 digits": "[" + "9" * 5000 + "]",
    "half a surrogate pair": "['\ud800', '",
    "a NUL": "['\0']\0",
    "a format": "[f'{1}']",
}


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_json_is_one_error_in_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableTextError):
            parse_json(text)
        assert tracemalloc.get_traced_memory()[1] < 64_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", HOSTILE_LISTS.values(), ids=HOSTILE_LISTS)
def test_a_hostile_list_is_none_in_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        assert parse_list(text) is None
        assert tracemalloc.get_traced_memory()[1] < 64_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_stored_and_compared_text_that_is_no_json_stays_text(text: str) -> None:
    assert parse_stored_json(text) == text
    for kind in (FieldType.JSON, FieldType.TEXT, FieldType.OPTION):
        assert canonical(Field("x", kind, None, False), text) == text


def test_text_as_deep_and_as_long_as_is_allowed_is_read() -> None:
    deep = "[" * MAX_NESTED_DEPTH + "]" * MAX_NESTED_DEPTH
    assert parse_json(deep) == json.loads(deep)
    long = json.dumps(list(range(MAX_VALUES - 1)))
    assert len(parse_json(long)) == MAX_VALUES - 1


def test_commas_in_a_string_are_no_values() -> None:
    text = json.dumps(["," * (MAX_VALUES + 1), "[" * 1000])
    assert parse_json(text) == json.loads(text)


ITEMS = st.recursive(
    st.text() | st.integers(-(10**20), 10**20) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(st.lists(ITEMS, max_size=5).filter(lambda items: str(items).count("[") < 9))
def test_every_list_is_read_as_python_shows_it(items: list[Any]) -> None:
    assert parse_list(str(items)) == items
    assert parse_list(f" {items} \n") == items

"""Records are streamed as they are, and a bad element is named."""

import io
import json
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relocation.archive.json_guard import MAX_DEPTH, MAX_ELEMENT_BYTES, MAX_VALUES, PIECE, JsonGuard
from relocation.archive.records import MAX_PK, Record, read_carefully, read_records
from relocation.errors import MAX_REASON, PermanentError

EXPORTS = Path(__file__).parents[2].parent / "shared/exports"

GOOD = b'{"model":"sentry.user","pk":7,"fields":{"name":"Ada"}}'


def element(**changed: object) -> dict[str, object]:
    return {"model": "sentry.user", "pk": 7, "fields": {"name": "Ada"}} | changed


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in element().items() if key != name}


def read(text: bytes) -> list[Record]:
    return list(read_records(io.BytesIO(text)))


def refusal(text: bytes) -> str:
    """Return the reason for which an export is refused."""
    with pytest.raises(PermanentError) as caught:
        read(text)
    assert 0 < len(caught.value.reason) <= MAX_REASON
    assert "Ada" not in "".join(traceback.format_exception(caught.value))  # no personal data
    return caught.value.reason


@pytest.mark.parametrize("indent", [None, 2])
def test_records_come_as_they_are_written(indent: int | None) -> None:
    """T-10, T-11, T-13, T-14: compact or indented; natural keys and large keys pass unchanged."""
    fields = {"user": ["ada"], "value": 1687902001.26, "data": {"a": [1, None, True]}, "名": "é😀"}
    text = json.dumps([element(fields=fields, pk=4_500_000_000_000_001)], indent=indent)
    expected = [Record("sentry.user", 4_500_000_000_000_001, fields)]
    assert read(text.encode()) == expected
    assert read(json.dumps(json.loads(text), ensure_ascii=False).encode()) == expected


def test_an_empty_list_has_no_records() -> None:
    """E-11."""
    assert read(b" [ ] \n") == []


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_PK, MAX_PK)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    | st.sampled_from(['"', "\\", '\\"[{', "\\u0000", "\\ud800", "}]", "😀"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\[{é'), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.text("xyz"), VALUES), max_size=3), st.booleans())
def test_any_json_is_read_as_the_standard_library_reads_it(
    fields: list[dict[str, Any]], ascii_only: bool
) -> None:
    elements = [element(pk=pk, fields=each) for pk, each in enumerate(fields, 1)]
    text = json.dumps(elements, ensure_ascii=ascii_only).encode()
    assert [record._asdict() for record in read(text)] == elements


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["\\\\", '\\"', "\\n", "\\ud83d\\ude00", "[", "{", "x", '","', "😀"])),
    st.integers(1, 13),
)
def test_the_guard_hands_on_good_text_unchanged_however_it_is_cut(
    parts: list[str], size: int
) -> None:
    text = f'["{"".join(parts)}"]'.encode()
    guard = JsonGuard(io.BytesIO(text))
    pieces = list(iter(lambda: guard.read(size), b""))
    assert b"".join(pieces) == text
    assert not guard.suspicious


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (5, "Element 2 of the export is not an object."),
        ([], "Element 2 of the export is not an object."),
        ("text", "Element 2 of the export is not an object."),
        (None, "Element 2 of the export is not an object."),
        (without("model"), 'Element 2 of the export has no "model".'),
        (without("pk"), 'Element 2 of the export (sentry.user) has no "pk".'),
        (without("fields"), 'Element 2 of the export (sentry.user) has no "fields".'),
        (element(model=3), "Element 2 of the export has a "),
        (element(model=["sentry.user"]), '"model" that is not a model name'),
        (element(model="user"), '"model" that is not a model name'),
        (element(model="Sentry.User"), '"model" that is not a model name'),
        (element(model="sentry." + "u" * 500), '"model" that is not a model name'),
        (element(pk="7"), '(sentry.user) has a "pk" that is not a whole number from 1'),
        (element(pk=True), 'has a "pk" that is not'),
        (element(pk=7.0), 'has a "pk" that is not'),
        (element(pk=0), 'has a "pk" that is not'),
        (element(pk=-7), 'has a "pk" that is not'),
        (element(pk=None), 'has a "pk" that is not'),
        (element(pk=MAX_PK + 1), "Element 2 of the export contains a number that is too large."),
        (element(pk=10**400), "Element 2 of the export contains a number that is too large."),
        (
            element(fields={"n": 2**70}),
            ("Element 2 of the export contains a number that is too large."),
        ),
        (element(fields=[]), '(sentry.user) has "fields" that is not an object.'),
        (element(fields=None), '(sentry.user) has "fields" that is not an object.'),
    ],
)
def test_an_element_of_the_wrong_shape_is_named(bad: object, says: str) -> None:
    """A-108: T-11 is kept, or the reason says where it is not."""
    assert says in refusal(json.dumps([element(), bad, element()]).encode())


def test_an_empty_model_is_refused_in_the_first_element_too() -> None:
    assert "Element 1 of the export has a" in refusal(json.dumps([element(model="")]).encode())


def test_the_largest_key_is_taken() -> None:
    assert read(json.dumps([element(pk=MAX_PK)]).encode())[0].pk == MAX_PK


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "empty or cut off"),
        (b" \n", "empty or cut off"),
        (b"hello", "not a JSON list"),
        (b"7", "not a JSON list"),
        (b'{"item": [%s]}' % GOOD, "not a JSON list"),  # what the parser alone would read
        (b"\xef\xbb\xbf[]", "text in UTF-8 with a byte order mark. It must be UTF-8"),
        ("[1]".encode("utf-16"), "text in UTF-16"),
        ("[1]".encode("utf-16-le"), "text in UTF-16"),
        ("[1]".encode("utf-16-be"), "text in UTF-16"),
        ("[1]".encode("utf-32"), "text in UTF-32"),
        ("[1]".encode("utf-32-be"), "text in UTF-32"),
        (b"[", "empty or cut off"),
        (b"[%s," % GOOD, "cut off after element 1"),
        (b"[%s, %s" % (GOOD, GOOD[:30]), "cut off after element 1"),
        (b"[%s" % GOOD, "cut off after element 1"),
        (b"[%s]]" % GOOD, "continues after the end of its list of 1 "),
        (b"[%s][%s]" % (GOOD, GOOD), "continues after the end"),
        (b"[%s]\0" % GOOD, "continues after the end"),
        (b"[%s,]" % GOOD, "not valid JSON in or just before element 2"),
        (b"[%s, {'model': 1}]" % GOOD, "not valid JSON in or just before element 2"),
        (GOOD.replace(b"7", b"NaN").join((b"[", b"]")), "not valid JSON"),
        (GOOD.replace(b"7", b"-Infinity").join((b"[", b"]")), "not valid JSON"),
        (GOOD.replace(b"7", b"1e999").join((b"[", b"]")), "contains a number that is too large"),
        (GOOD.replace(b"7", b"9" * 5000).join((b"[", b"]")), "contains a number that is too large"),
        (GOOD.replace(b"7", b"7/*c*/").join((b"[", b"]")), "not valid JSON"),
        (GOOD.replace(b'a"', b'\0"').join((b"[", b"]")), "not valid JSON"),  # a raw NUL
        (GOOD.replace(b"Ada", b"A\xff").join((b"[", b"]")), "not valid Unicode"),
        (GOOD.replace(b"Ada", b"\xc0\x80").join((b"[", b"]")), "not valid Unicode"),
        (GOOD.replace(b"Ada", b"\xed\xa0\x80").join((b"[", b"]")), "not valid Unicode"),
    ],
)
def test_what_is_no_list_of_json_is_refused(text: bytes, says: str) -> None:
    """W-13: unparseable JSON is invalid data, not a fault on our side."""
    assert says in refusal(text)


@pytest.mark.parametrize(
    "escape",
    [
        r"\u0000",
        r"\\\u0000",  # a backslash, then a NUL
        r"\ud800",
        r"\uDBFF",
        r"\ud83dx",
        r"\ud83d\n",
        r"\ud83d\u0041",  # the parser would make one other character of these two
        r"\ud83d\ud83d\ude00",
        r"\ud83d\\ude00",
        r"\ude00",
        r"\ud83d\ude00\ude00",
        r"\\ud83d\ude00",  # only the second is an escape
    ],
)
@pytest.mark.parametrize("place", ['{"a": [{"b": "x%sy"}]}', '{"%s": 1}'])
def test_text_that_cannot_be_stored_is_found_wherever_a_piece_ends(escape: str, place: str) -> None:
    bad = '{"model":"sentry.user","pk":8,"fields":%s}' % (place % escape)
    start = f'[{GOOD.decode()},{{"model":"sentry.user","pk":9,"fields":{{"pad":"'
    lengths = [0, *range(PIECE - len(start) - 80, PIECE - len(start) + 4)]
    for length in lengths:
        text = f'{start}{"p" * length}"}}}},{bad},{GOOD.decode()}]'
        reason = refusal(text.encode())
        assert reason.startswith("Element 3 of the export ")
        assert "not valid Unicode" in reason or "can't be stored" in reason


class Drops(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, text: bytes, size: int) -> None:
        super().__init__(text)
        self._size = size

    def read(self, size: int | None = None, /) -> bytes:
        return super().read(self._size if size is None else min(size, self._size))


def outcome(records: Iterator[Record]) -> tuple[list[Record], str]:
    """Return what is read, and the reason for which the rest is refused."""
    found: list[Record] = []
    try:
        for record in records:
            found.append(record)
    except PermanentError as err:
        return found, err.reason
    return found, ""


@settings(deadline=None, max_examples=80)
@given(
    fields=st.lists(st.dictionaries(st.text("xyz"), VALUES), max_size=4),
    change=st.none()
    | st.tuples(
        st.integers(0, 400),
        st.sampled_from(
            [
                b"",
                b"\\u0000",
                b"\\ud800",
                b"}",
                b"{",
                b",",
                b'"',
                b"9" * 20,
                b"\xff",
                b',{"model":1},',
                b"[" * 40,
                b" \n",
            ]
        ),
    ),
    indent=st.sampled_from([None, 2]),
    size=st.sampled_from([1, 7, 40, 10_000]),
)
def test_reading_in_runs_finds_what_careful_reading_finds(
    fields: list[dict[str, Any]], change: tuple[int, bytes] | None, indent: int | None, size: int
) -> None:
    """The same records, or a refusal; of two faults either may be told."""
    elements = [element(pk=pk, fields=each) for pk, each in enumerate(fields, 1)]
    text = json.dumps(elements, indent=indent).encode()
    if change is not None:
        at = change[0] % (len(text) + 1)
        text = text[:at] + change[1] + text[at + (not change[1]) :]
    careful, fault = outcome(read_carefully(Drops(text, size)))
    found, reason = outcome(read_records(Drops(text, size)))
    assert bool(reason) is bool(fault)
    if reason:
        shorter, longer = sorted([found, careful], key=len)
        assert shorter == longer[: len(shorter)]
    else:
        assert found == careful


@pytest.mark.parametrize(
    "inside",
    [
        '{"model": "a.b", "pk": 1}, {"model": "a.b"}',  # looks like the next element
        r'"},{\"model\":\"sentry.user\""',
        "-922337203685477580, 12345678901234567.5, 1e20",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]",
        r'"\\u0000", "[[[{{{"',
    ],
)
def test_odd_values_within_a_run_are_read_as_they_are(inside: str) -> None:
    odd = f'{{"model":"sentry.user","pk":8,"fields":{{"x":[{inside}]}}}}'
    text = f"[{GOOD.decode()},{odd},{GOOD.decode()},{odd}]"
    assert [record._asdict() for record in read(text.encode())] == json.loads(text)


def test_the_field_with_a_nul_is_named() -> None:
    text = b'[{"model":"sentry.user","pk":8,"fields":{"a":"b","name":["\\u0000"]}}]'
    assert refusal(text).startswith(
        'Element 1 of the export (sentry.user) contains a character in its field "name"'
    )


def test_text_that_only_looks_like_an_escape_is_read() -> None:
    """JSON in a string quotes its escapes once more (1.3)."""
    fields = {"data": json.dumps({"a": "\0", "b": "\ud800", "c": "😀"}), "path": "C:\\ud800"}
    assert read(json.dumps([element(fields=fields)]).encode())[0].fields == fields


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    """Return an export whose deepest value is `levels` deep; list and record count."""
    inside = levels - 3
    value = opening * inside + "1" + closing * inside
    return f'[{GOOD.decode()},{{"model":"sentry.user","pk":8,"fields":{{"x":{value}}}}}]'.encode()


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('["]",', "]")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    assert len(read(nested(MAX_DEPTH, opening, closing))) == 2
    reason = refusal(nested(MAX_DEPTH + 1, opening, closing))
    assert f"more than {MAX_DEPTH} levels deep" in reason


def test_a_million_levels_are_refused_in_little_memory() -> None:
    """The parser alone would take memory with the square of the depth."""
    text = nested(1_000_000, "[", "]")
    tracemalloc.start()
    try:
        assert "deep" in refusal(text)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_brackets_in_strings_are_no_nesting() -> None:
    fields = {"scope_list": "[" * 500, 'k"{' * 200: '{"' * 200 + "\\", "b": "\\" * 999}
    elements = [element(fields=fields)] * 100
    assert len(read(json.dumps(elements).encode())) == 100


def test_an_element_that_does_not_end_is_refused() -> None:
    """B-10: memory is bounded by the largest record taken."""
    text = b"[" + GOOD + b',{"model":"' + b"x" * (MAX_ELEMENT_BYTES + 1024**2)
    assert refusal(text) == "Element 2 of the export is larger than 8 MiB."


@pytest.mark.parametrize("value", ["[]", "{}", "0", '{"":{}}'])
def test_an_element_of_too_many_values_is_refused(value: str) -> None:
    """Empty lists take thirty times as much memory as their text."""
    values = ",".join([value] * (MAX_VALUES + 1))
    text = f'[{GOOD.decode()},{{"model":"sentry.user","pk":8,"fields":{{"x":[{values}]}}}}]'
    assert len(text) < MAX_ELEMENT_BYTES
    tracemalloc.start()
    try:
        reason = refusal(text.encode())
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()
    assert reason == (
        "Element 2 of the export contains more than 250,000 values, lists and objects."
    )


def test_commas_and_brackets_in_a_string_are_no_values() -> None:
    fields = {"x": '[{,"' * 300_000}
    assert read(json.dumps([element(fields=fields)]).encode())[0].fields == fields


@pytest.mark.parametrize("unit", ["é", "\\n", "\\ud83d\\ude00"])
def test_long_strings_are_read_in_linear_time(unit: str) -> None:
    """The parser begins a string anew with every piece of it that it gets."""

    def seconds(size: int) -> float:
        inside = unit.encode() * (size // len(unit.encode()))
        text = b'[{"model":"sentry.user","pk":8,"fields":{"x":"%b"}}]' % inside
        begin = time.process_time()
        assert len(read(text)) == 1
        return time.process_time() - begin

    small, large = (min(seconds(size) for _ in range(2)) for size in (1_500_000, 6_000_000))
    assert large < 8 * small  # 16 where the time grows with the square


def test_elements_just_below_the_limit_are_read_one_after_the_other() -> None:
    large = b'{"model":"sentry.user","pk":8,"fields":{"x":"%b"}}' % (
        b"x" * (MAX_ELEMENT_BYTES - 99)
    )
    text = b"[" + b",".join([GOOD, large, large, GOOD]) + b"]"
    assert [record.pk for record in read(text)] == [7, 8, 8, 7]


def test_a_large_export_is_read_in_little_memory() -> None:
    """B-10, W-50."""
    text = b"[" + b",".join([GOOD] * 30_000) + b"]"
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(io.BytesIO(text))) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_of_a_name_given_twice_the_last_counts() -> None:
    """As in the reference and in the standard library."""
    text = b'[{"model":"sentry.user","pk":1,"pk":2,"fields":{"a":1,"a":2}}]'
    assert read(text) == [Record("sentry.user", 2, {"a": 2})]


def test_records_before_a_bad_one_are_yielded() -> None:
    records = read_records(io.BytesIO(b"[" + GOOD + b',{"model"'))
    assert next(records).pk == 7
    with pytest.raises(PermanentError):
        next(records)


@pytest.mark.parametrize("name", ["fresh-install.json", "user-with-maximum-privileges.json"])
def test_a_real_export_is_read_completely(name: str) -> None:
    path = EXPORTS / name
    if not path.exists():
        pytest.skip("the real exports are not part of the project")
    with path.open("rb") as stream:
        records = list(read_records(stream))
    assert [record._asdict() for record in records] == json.loads(path.read_text())
    assert len(records) >= 8

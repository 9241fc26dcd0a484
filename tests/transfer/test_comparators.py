"""Each comparator alone: what passes, what is told, and what a sentence must never show."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.catalogue import Field, FieldType
from relocation.transfer.compare.canonical import canonical, same
from relocation.transfer.compare.comparators import (
    Compare,
    auto_suffix,
    compare_password,
    mask_address,
    mask_password,
    mask_secret,
    missing,
    not_earlier,
    renewed_subscription,
    renewed_uuid,
    same_instant,
    same_items,
    same_masked,
    same_reference,
    same_value,
    secret_form,
)

JUNE, JULY = "2023-06-22T00:00:00.000Z", "2023-07-22T00:00:00.000Z"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("compare", "value"),
    [
        (same_value, "text"),
        (same_masked(mask_address), "ann@example.com"),
        (same_masked(mask_secret), "0123456789abcdef"),
        (auto_suffix(str), "acme"),
        (not_earlier, JUNE),
        (same_instant, JUNE),
        (same_items, "['org:read', 'org:ci']"),
        (secret_form, "0123456789abcdef" * 2),
        (same_reference({1: 1}, {1: 1}), 1),
    ],
)
def test_a_comparator_passes_equal_values(compare: Compare, value: object) -> None:
    """A-70"""
    assert compare(value, value) == []


def test_a_later_date_passes() -> None:
    """A-72"""
    assert not_earlier(JUNE, JULY) == []


def test_an_earlier_date_is_told_with_both_dates() -> None:
    """A-72"""
    [reason] = not_earlier(JULY, JUNE)
    assert JUNE in reason
    assert JULY in reason


def test_no_date_counts_as_the_earliest() -> None:
    """5.2, date updated"""
    assert not_earlier(None, JUNE) == []
    assert len(not_earlier(JUNE, None)) == 1


@pytest.mark.parametrize(
    ("left", "right", "side"),
    [
        ("x", None, "actual"),
        (None, "x", "expected"),
        (0, None, "actual"),  # a zero is a value
        (None, False, "expected"),
    ],
)
def test_a_value_against_none_names_the_side_without_it(
    left: object, right: object, side: str
) -> None:
    """A-73, V-2"""
    assert side in (missing(left, right) or "")


@pytest.mark.parametrize("both", [(None, None), ("x", "y"), (0, False)])
def test_values_on_both_sides_or_on_none_are_not_missing(both: tuple[Any, Any]) -> None:
    """A-73, V-2"""
    assert missing(*both) is None


@pytest.mark.parametrize(
    ("right", "passes"),
    [
        ("foo-bar", True),
        ("foo-bar-baz", True),
        ("foo-barbaz", False),
        ("other", False),
        ("foo", False),
    ],
)
def test_only_a_hyphen_begins_a_suffix(right: str, passes: bool) -> None:
    """A-74"""
    assert (auto_suffix(str)("foo-bar", right) == []) is passes


@pytest.mark.parametrize(
    ("right", "passes"),
    [
        ("2023-06-22T00:00:00Z", True),
        ("2023-06-22T02:00:00+02:00", True),
        ("2023-06-22T00:00:00.123Z", False),
        ("2023-06-22T00:00:01.000Z", False),
    ],
)
def test_an_instant_is_the_same_however_it_is_written(right: str, passes: bool) -> None:
    """A-75"""
    assert (same_instant(JUNE, right) == []) is passes


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("someone@example.com", "s...@...le.com"),
        ("a@b.io", "a...@...b.io"),
        ("@example.com", "...@...le.com"),  # crashes the reference
        ("a@", "a...@..."),
        ("no address at all", "no ...all"),  # the reference shows it whole
        ("short", "..."),
        ("", "..."),
        (["ann@example.com", "@x.org"], "a...@...le.com, ...@...x.org"),
        (None, "..."),
    ],
)
def test_an_address_is_masked(value: object, shown: str) -> None:
    """A-76, W-31"""
    assert mask_address(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0123456789abcdef", "012...def"),
        ("0123456789abcde", "0...e"),
        ("01234567", "0...7"),
        ("0123456", "..."),
        ("", "..."),
    ],
)
def test_a_secret_is_masked_by_its_length(value: str, shown: str) -> None:
    """A-77"""
    assert mask_secret(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("pbkdf2_sha25" + "x" * 70 + "TheEnd", "pbkdf2_sha25...TheEnd"),
        ("sha1$a" + "x" * 40 + "Tail", "sha1$a...Tail"),
        ("!" + "x" * 39, "..."),
    ],
)
def test_a_password_is_masked_by_its_length(value: str, shown: str) -> None:
    """A-78, V-1"""
    assert mask_password(value) == shown


@given(st.text(min_size=7))
def test_no_mask_shows_a_whole_value(value: str) -> None:
    """W-31"""
    for mask in (mask_secret, mask_password):
        assert value not in mask(value) or set(value) <= {"."}


@given(ANY_JSON)
def test_no_mask_fails_on_any_value(value: object) -> None:
    """W-31"""
    for mask in (mask_address, mask_secret, mask_password):
        assert "..." in mask(value) or isinstance(value, list)


def test_references_compare_what_they_name_and_not_their_keys() -> None:
    """A-79"""
    compare = same_reference({10: 1, 11: 2}, {20: 1, 21: 2})
    assert compare(10, 20) == []
    [reason] = compare(10, 21)
    assert "1" in reason
    assert "2" in reason


def test_a_reference_to_nothing_is_told_for_each_side() -> None:
    """A-79, V-4"""
    reasons = same_reference({10: 1}, {20: 1})(77, 88)
    assert ["expected" in reason and "77" in reason for reason in reasons] == [True, False]
    assert ["actual" in reason and "88" in reason for reason in reasons] == [False, True]


def test_references_cannot_be_compared_before_records_are_paired() -> None:
    """A-79, V-4"""
    with pytest.raises(RuntimeError):
        same_reference(None, {1: 1})(1, 1)


UUID_A, UUID_B = "a2c6a1ea-5ffd-4d71-a5b3-2f2f0a9a1c5e", "5d1f9e0a63d94f8f9f7e0b1c2d3e4f50"
NOT_RANDOM = "a2c6a1ea-5ffd-1d71-a5b3-2f2f0a9a1c5e"


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        (UUID_A, UUID_B, []),
        (UUID_A, UUID_A, ["same"]),
        (NOT_RANDOM, UUID_B, ["expected"]),
        (UUID_A, "nonsense", ["actual"]),
        (12, 13, ["expected", "actual"]),
    ],
)
def test_uuids_are_random_and_differ(left: object, right: object, told: list[str]) -> None:
    """A-80"""
    reasons = renewed_uuid(left, right)
    assert len(reasons) == len(told)
    assert all(word in reason for word, reason in zip(told, reasons, strict=True))


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("0/" + "a" * 32, "12/" + "b" * 32, 0),
        ("0/" + "a" * 32, "0/" + "a" * 32, 1),
        ("a" * 32, "0/" + "b" * 32, 1),
        ("0/" + "a" * 32, "0/" + "B" * 32, 1),
    ],
)
def test_subscription_ids_have_their_form_and_differ(left: str, right: str, told: int) -> None:
    """A-80"""
    assert len(renewed_subscription(left, right)) == told


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("a" * 32, "b" * 32, 0),  # the form alone: another comparator sees that they differ
        ("a" * 31, "b" * 32, 1),
        ("a" * 32, "B" * 32, 1),
        ("z" * 32, "z" * 32, 2),
    ],
)
def test_secrets_have_their_form_on_both_sides(left: str, right: str, told: int) -> None:
    """A-81, W-31"""
    reasons = secret_form(left, right)
    assert len(reasons) == told
    assert not any(left in reason or right in reason for reason in reasons)


@pytest.mark.parametrize(
    ("right", "passes"),
    [
        ("['b', 'a']", True),
        (["b", "a"], True),
        ("['a', 'b', 'c']", False),
        ("['a', 'b', 'b']", False),
        ("['a']", False),
    ],
)
def test_lists_are_the_same_in_any_order(right: object, passes: bool) -> None:
    """A-82"""
    assert (same_items("['a', 'b']", right) == []) is passes


CLAIMED = {"password": "old", "is_unclaimed": False, "last_password_change": JUNE}
TAKEN = {"password": "new", "is_unclaimed": True, "last_password_change": JULY}


@pytest.mark.parametrize(
    ("left", "right", "fields"),
    [
        (CLAIMED, TAKEN, []),
        (CLAIMED, CLAIMED, []),
        ({"password": "old"}, {"password": "old", "is_unclaimed": False}, []),  # absent is false
        (CLAIMED, {**TAKEN, "password": "old"}, ["password"]),
        (CLAIMED, {**CLAIMED, "password": "new"}, ["password"]),
        (TAKEN, {**TAKEN, "is_unclaimed": False}, ["is_unclaimed"]),
        (TAKEN, TAKEN, ["password"]),  # stays unclaimed, and still needs another one
        (CLAIMED, {**TAKEN, "last_password_change": None}, ["last_password_change"]),
        (CLAIMED, {**TAKEN, "is_password_expired": True}, ["is_password_expired"]),
        (
            CLAIMED,
            {**CLAIMED, "password": "new", "last_password_change": None},
            ["last_password_change", "password"],  # V-3: in alphabetical order
        ),
    ],
)
def test_a_password_changes_exactly_when_the_account_must_be_claimed(
    left: dict[str, Any], right: dict[str, Any], fields: list[str]
) -> None:
    """A-85, V-1, V-3, V-6"""
    assert [field for field, _ in compare_password(left, right)] == fields


def test_a_password_is_never_shown() -> None:
    """W-31"""
    left = {"password": "pbkdf2_sha256$1$" + "s" * 70, "is_unclaimed": False}
    [(_, reason)] = compare_password(left, {**left, "password": "argon2$" + "t" * 70})
    assert "s" * 10 not in reason
    assert "t" * 10 not in reason


@pytest.mark.parametrize(
    ("type_", "left", "right", "equal"),
    [
        (FieldType.DATETIME, "2023-06-22T00:00:00Z", JUNE, True),
        (FieldType.DATETIME, "2023-06-22T00:00:00.000999Z", JUNE, True),  # microseconds are cut
        (FieldType.DATETIME, "someday", "some day", False),
        (FieldType.FLAGS, 1, "1", True),
        (FieldType.FLAGS, "1", "2", False),
        (FieldType.FLOAT, 1, 1.0, True),
        (FieldType.ARRAY, "['a','b']", ["a", "b"], True),
        (FieldType.ARRAY, "['a', 'b']", "['b', 'a']", False),
        (FieldType.JSON, {"a": 1, "b": [2.0]}, {"b": [2], "a": 1}, True),
        (FieldType.JSON, {"a": 1}, {"a": True}, False),
        (FieldType.TEXT, '{"a":1}', '{"a": 1}', True),
        (FieldType.TEXT, "1", "1.0", False),
        (FieldType.OPTION, 11, "11", True),
        (FieldType.OPTION, '"x"', '"\\"x\\""', False),  # encoded twice (W-24)
        (FieldType.OPTION, "NaN", "NaN", True),
        (FieldType.OPTION, None, "null", True),
        (FieldType.BOOLEAN, True, 1, False),
    ],
)
def test_values_are_equal_when_they_mean_the_same(
    type_: FieldType, left: object, right: object, equal: bool
) -> None:
    """5.1, canonical form"""
    field = Field("any", type_)
    assert same(canonical(field, left), canonical(field, right)) is equal


@given(st.sampled_from(FieldType), ANY_JSON)
def test_a_canonical_value_stays_as_it_is(type_: FieldType, value: object) -> None:
    """5.1, canonical form"""
    field = Field("any", type_)
    once = canonical(field, value)
    assert same(canonical(field, once), once)

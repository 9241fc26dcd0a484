"""Names that nobody has yet (I-90)."""

import re
from collections.abc import Callable, Collection
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.errors import TransientError
from relocation.transfer.load.naming import NameRule, pick_names, visible_form

SLUG = st.text("abc-", max_size=8)


def seeded(seed: int = 1) -> Random:
    return Random(seed)  # noqa: S311 - a test must give the same names each time


def pick(base: str, is_taken: Callable[[str], bool]) -> str:
    def taken(names: Collection[str]) -> list[str]:
        return [name for name in names if is_taken(name)]

    [name] = pick_names([base], NameRule(30), taken, random=seeded())
    return name


def test_a_free_name_is_taken_as_it_is() -> None:
    assert pick("a" * 40, lambda _: False) == "a" * 40


def test_a_taken_name_gets_a_suffix_within_the_length() -> None:
    """A-27."""
    name = pick("a" * 40, lambda name: name == "a" * 40)
    assert re.fullmatch(r"a{27}-[a-z0-9]{2}", name)


def test_a_name_of_digits_alone_gets_a_suffix() -> None:
    assert re.fullmatch(r"2024-[a-z0-9]{2}", pick("2024", lambda _: False))


@pytest.mark.parametrize("base", ["", "api"])
def test_an_empty_or_reserved_name_becomes_twelve_hex_digits(base: str) -> None:
    rule = NameRule(30, frozenset({"api"}))
    [name] = pick_names([base], rule, lambda _: (), random=seeded())
    assert re.fullmatch(r"[0-9a-f]{12}", name)


def test_suffixes_grow_over_27_attempts_and_then_fail() -> None:
    tried: list[str] = []

    def is_taken(name: str) -> bool:
        tried.append(name)
        return True

    with pytest.raises(TransientError, match="No free name"):
        pick("base", is_taken)
    assert tried[0] == "base"
    lengths = [len(name) - len("base-") for name in tried[1:]]
    assert lengths == [2] + [3] * 5 + [5] * 20 + [12]


def test_many_free_names_are_looked_up_at_once() -> None:
    asked: list[set[str]] = []

    def taken(names: Collection[str]) -> set[str]:
        asked.append(set(names))
        return set(names) & {"a", "b"}

    names = pick_names(["a", "b", "c"], NameRule(30), taken, random=seeded())
    assert names[2] == "c"
    assert len(asked) == 2
    assert asked[0] == {"a", "b", "c"}
    assert len(asked[1]) == 2


def test_the_case_of_a_name_does_not_make_it_another() -> None:
    first, second = pick_names(["Ann", "ann"], NameRule(128), lambda _: {"ANN"}, random=seeded())
    assert first.lower() != "ann"
    assert second.lower() != "ann"


@given(bases=st.lists(SLUG, max_size=12), used=st.sets(SLUG), seed=st.integers())
def test_names_differ_from_each_other_and_from_all_in_use(
    bases: list[str], used: set[str], seed: int
) -> None:
    def taken(names: Collection[str]) -> set[str]:
        return {name for name in names if name in used}

    names = pick_names(bases, NameRule(30), taken, random=seeded(seed))
    assert len(set(names)) == len(bases)
    assert not used & set(names)
    for base, name in zip(bases, names, strict=True):
        assert name == base or not base or name.startswith(f"{base}-")


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("bob ", "bob"),  # a blank behind
        ("\uff42\uff4f\uff42", "bob"),  # full width
        ("Bob\u200b", "bob"),  # a character that nobody sees
        ("bob", "bob  "),
        ("straße", "STRASSE"),
    ],
)
def test_a_name_that_only_looks_like_one_in_use_gets_a_suffix(name: str, there: str) -> None:
    rule = NameRule(128, digits_alone=True, alike=visible_form)
    [given] = pick_names([name], rule, lambda _: [there], random=seeded())
    assert re.fullmatch(re.escape(name) + "-[a-z0-9]{2}", given)


def test_of_two_new_names_that_look_alike_one_gets_a_suffix() -> None:
    rule = NameRule(128, alike=visible_form)
    first, second = pick_names(["bob", "\uff42\uff4f\uff42"], rule, lambda _: [], random=seeded())
    assert (first, second[:4]) == ("bob", "\uff42\uff4f\uff42-")

"""Find names that nobody in the destination has (I-90)."""

import string
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from sqlalchemy import Column, Connection, select

from relocation.errors import TransientError
from relocation.transfer.database.rows import is_odd

_LETTERS: Final = string.ascii_lowercase + string.digits
_SUFFIXES: Final = ((1, 2), (5, 3), (20, 5), (1, 12))
"""How often a suffix of which length is tried."""
_NAMELESS_TRIES: Final = sum(tries for tries, _ in _SUFFIXES)
_AT_ONCE: Final = 10_000
_UNSEEN: Final = frozenset({"Cc", "Cf"})
"""Categories of characters that nobody sees: controls, joiners, marks of direction."""


def visible_form(name: str) -> str:
    """Return what a person sees of a name: without its case, its width, and blanks around it."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = (" " if one.isspace() else one for one in folded if one.isspace() or _is_seen(one))
    return " ".join("".join(seen).split())


def look_alikes(connection: Connection, column: Column[Any], names: Collection[str]) -> list[str]:
    """Return the names in use that look like one of these, though they are written with more.

    Such as letters of full width; reads every name that is not plain ASCII, and keeps few.
    """
    looks = set(map(visible_form, names))
    odd = select(column).where(is_odd(column)).execution_options(yield_per=_AT_ONCE)
    with connection.execute(odd) as names_in_use:
        return [name for (name,) in names_in_use if visible_form(name) in looks]


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN


@dataclass(frozen=True)
class NameRule:
    """What makes a name; a free one is never cut, whatever `suffixed_length` says."""

    suffixed_length: int
    """Most characters of a name that gets a suffix."""
    reserved: frozenset[str] = frozenset()
    digits_alone: bool = False
    """Whether a name may be a number; a slug may not, since it would be taken for an id."""
    alike: Callable[[str], str] = str.lower
    """What two names must not share."""


def pick_names(
    bases: Sequence[str],
    rule: NameRule,
    taken: Callable[[Collection[str]], Collection[str]],
    *,
    random: Random,
) -> list[str]:
    """Return for each base a name that is free, no two alike by the rule (I-90).

    A base stays as it is where it is free; else it gets a random suffix. Raises TransientError when
    all 27 attempts at one name were taken.

    `taken` returns which of some names are in use; it is asked once for all bases together, and
    once more for each round of suffixes that collisions make necessary.
    """
    streams = [_candidates(base, rule, random) for base in bases]
    names = [next(stream) for stream in streams]
    pending = list(range(len(names)))
    given: set[str] = set()
    while pending:
        asked = {names[place] for place in pending}
        in_use = {rule.alike(name) for name in taken(asked | set(map(rule.alike, asked)))} | given
        refused = []
        for place in pending:
            name = rule.alike(names[place])
            if name in in_use:
                refused.append(place)
            else:
                in_use.add(name)
                given.add(name)
        for place in refused:
            names[place] = _next(streams[place])
        pending = refused
    return names


def _next(stream: Iterator[str]) -> str:
    name = next(stream, None)
    if name is None:
        raise TransientError("No free name could be found for an imported record.")
    return name


def _candidates(base: str, rule: NameRule, random: Random) -> Iterator[str]:
    if not base or base in rule.reserved:
        for _ in range(_NAMELESS_TRIES):
            yield f"{random.getrandbits(48):012x}"
        return
    if rule.digits_alone or not base.isdecimal():
        yield base
    for tries, length in _SUFFIXES:
        for _ in range(tries):
            suffix = "".join(random.choices(_LETTERS, k=length))
            yield f"{base[: rule.suffixed_length - length - 1]}-{suffix}"

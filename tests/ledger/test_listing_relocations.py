"""Reading relocations, and what their holder adds to them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from ledgers import at
from sqlalchemy import Engine

from relocation.errors import FencedOut
from relocation.ledger.admission import record_people
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import find_relocation, get_relocation, list_relocations
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import utc_now
from relocation.request import RelocationRequest
from relocation.steps import Status

DOMAIN = "example.org"


def _settle(ledger: Engine, id_: str, settlement: Settlement) -> bool:
    """Settle as the process that holds the relocation."""
    seen = find_relocation(ledger, id_)
    own = hold_of(seen) if seen else None
    new = settle(ledger, id_, settlement, sender_domain=DOMAIN, seen=own, now=utc_now())
    return new is not None


@pytest.fixture
def three(ledger: Engine, ask: Callable[..., RelocationRequest], now: datetime) -> None:
    """Three relocations, one a minute."""
    asked = [("one", "olivia", "acme"), ("two", "noah", "Acme-labs"), ("three", "mia", "pct_100")]
    for minute, (id_, owner, slug) in enumerate(asked):
        open_relocation(ledger, id_, ask(owner, slug), at(now + timedelta(minutes=minute)))


def test_the_newest_comes_first(ledger: Engine, three: None) -> None:
    """A-130."""
    assert [one.id for one in list_relocations(ledger)] == ["three", "two", "one"]


def test_no_more_are_listed_than_asked_for(ledger: Engine, three: None) -> None:
    assert [one.id for one in list_relocations(ledger, limit=2)] == ["three", "two"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["acme"], ["two", "one"]),  # slugs, in upper or lower case
        (["acme", "labs"], ["two"]),  # every word must match
        (["acme", "mia"], []),
        (["OLI"], ["one"]),  # the owner
        (["thre"], ["three"]),  # the id
        (["t_1"], ["three"]),  # an underscore is a character, not a pattern
        (["e_l"], []),
        (["%"], []),
    ],
)
def test_words_are_parts_of_id_usernames_or_slugs(
    ledger: Engine, three: None, words: list[str], found: list[str]
) -> None:
    """A-130."""
    assert [one.id for one in list_relocations(ledger, words=words)] == found


def test_a_creator_is_found_by_name(ledger: Engine, now: datetime) -> None:
    """A-130."""
    asked = RelocationRequest(archive="a", organizations=["x"], owner="olivia", creator="Carla")
    open_relocation(ledger, "one", asked, at(now))
    assert [one.id for one in list_relocations(ledger, words=["carl"])] == ["one"]
    assert list_relocations(ledger, words=["none"]) == []


def test_status_and_owner_narrow_the_list(ledger: Engine, three: None) -> None:
    """A-130."""
    _settle(ledger, "two", Settlement(Status.FAILURE, "No."))
    assert [one.id for one in list_relocations(ledger, status=Status.FAILURE)] == ["two"]
    assert [one.id for one in list_relocations(ledger, owner="mia")] == ["three"]
    assert list_relocations(ledger, owner="mia", status=Status.FAILURE) == []


def test_addresses_are_kept(ledger: Engine, hold: Hold) -> None:
    record_people(ledger, hold, "olivia@example.org", None, utc_now())
    relocation = get_relocation(ledger, "r-1")
    assert (relocation.owner_email, relocation.creator_email) == ("olivia@example.org", None)


def test_a_settled_relocation_takes_no_more_addresses(ledger: Engine, hold: Hold) -> None:
    _settle(ledger, "r-1", Settlement(Status.FAILURE, "No."))
    with pytest.raises(FencedOut):
        record_people(ledger, hold, "late@example.org", None, utc_now())
    assert get_relocation(ledger, "r-1").owner_email is None

"""Nobody's news is lost: who has no address is told by way of the operator (W-45)."""

from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage

import pytest
from mail_parts import Build
from sqlalchemy import Engine

from relocation.errors import PersonError
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation
from relocation.notices.kinds import NoticeKind
from relocation.notices.recipients import Addressee, addressees, check_addresses, people_drafts
from relocation.request import RelocationRequest

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
OPERATOR = "operator@example.org"
THE_OWNER, THE_CREATOR = 'the owner "olivia"', 'the creator "marcus"'


@pytest.fixture
def relocation(ledger: Engine) -> Relocation:
    """The relocation of the ledger."""
    return get_relocation(ledger, RELOCATION)


@pytest.mark.parametrize(
    ("owner", "creator", "told"),
    [
        ("o@example.org", ("marcus", "m@example.org"), [("o@example.org",), ("m@example.org",)]),
        # The owner's own request.
        ("o@example.org", (None, "o@example.org"), [("o@example.org",)]),
        # Two people who share an address.
        ("o@example.org", ("marcus", "O@example.org"), [("o@example.org",)]),
        (None, ("marcus", "m@example.org"), [("m@example.org",), (OPERATOR, THE_OWNER)]),
        ("o@example.org", ("marcus", None), [("o@example.org",), (OPERATOR, THE_CREATOR)]),
        ("", ("marcus", ""), [(OPERATOR, THE_OWNER, THE_CREATOR)]),
        ("no address", (None, "no address"), [(OPERATOR, THE_OWNER)]),
    ],
)
def test_owner_and_creator_are_told_or_the_operator_in_their_place(
    owner: str | None,
    creator: tuple[str | None, str | None],
    told: list[tuple[str, ...]],
    relocation: Relocation,
) -> None:
    """R-20, W-45."""
    name, address = creator
    one = replace(relocation, owner_email=owner, creator=name, creator_email=address)
    wanted = [Addressee(address, tuple(names)) for address, *names in told]
    assert addressees(one, OPERATOR) == wanted


def test_a_request_that_never_became_a_relocation_is_the_operators_news() -> None:
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    (draft,) = people_drafts(NoticeKind.FAILED, {}, OPERATOR, about=request)
    assert (draft.recipient, draft.context) == (OPERATOR, {"stands_in_for": [THE_OWNER]})


def test_a_request_that_names_no_owner_is_told_to_an_operator_as_that() -> None:
    request = RelocationRequest(archive="a", organizations=["acme"], owner="")
    (draft,) = people_drafts(NoticeKind.FAILED, {}, OPERATOR, about=request)
    assert draft.context == {"stands_in_for": ["the owner (not named)"]}


@pytest.mark.parametrize("kind", NoticeKind)
def test_who_stands_in_for_an_owner_reads_why_and_what_to_do(
    kind: NoticeKind,
    build: Build,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    message = build(kind, stands_in_for=[THE_OWNER, THE_CREATOR])
    for part in (text_of(message), html_of(message)):
        words = " ".join(part.replace("&#34;", '"').split())
        assert "because we have no working address for" in words
        assert f"{THE_OWNER}, {THE_CREATOR}" in words
        assert f"relocation show {RELOCATION}" in words
    assert "no working address" not in text_of(build(kind))


def test_the_advice_for_an_owner_is_not_given_to_his_stand_in_as_his_own(
    build: Build,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    message = build(NoticeKind.FAILED, stands_in_for=[THE_OWNER])
    for part in (text_of(message), html_of(message)):
        words = " ".join(part.split()).lower()
        advice, own = "what the owner would see here", "what you can do"
        assert words.index(advice) < words.index("correct this, then request") < words.index(own)
        assert words.index(own) < words.index(f"relocation recover {RELOCATION}")


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "Ann <a@example.org>", "a@example.org\n"])
def test_a_malformed_address_is_refused_up_front_and_not_quoted(address: str) -> None:
    with pytest.raises(PersonError) as refused:
        check_addresses([("owner", "olivia", "o@example.org"), ("creator", "marcus", address)])
    assert 'The creator "marcus"' in refused.value.reason
    assert address.strip() not in refused.value.reason


def test_no_address_at_all_is_no_reason_to_refuse() -> None:
    check_addresses([("owner", "olivia", ""), ("creator", "marcus", "m@example.org")])


def test_only_what_ends_a_round_and_what_needs_an_operator_is_told_once_a_round() -> None:
    """DESIGN 7: what a round may tell again, and what a relocation tells once."""
    from relocation.notices.kinds import NoticeDraft

    def keys(kind: NoticeKind, about: str = "") -> set[str]:
        return {
            NoticeDraft(kind, "O@example.org", about=about).key("r-1", round_) for round_ in (1, 2)
        }

    assert {kind: len(keys(kind)) for kind in NoticeKind} == {
        NoticeKind.STARTED: 1,
        NoticeKind.SUCCEEDED: 1,
        NoticeKind.CLAIM: 1,
        NoticeKind.FAILED: 2,
        NoticeKind.CANCELLED: 2,
        NoticeKind.OPERATOR: 2,
    }
    assert not keys(NoticeKind.OPERATOR, about="stuck") & keys(
        NoticeKind.OPERATOR, about="unsettled"
    )

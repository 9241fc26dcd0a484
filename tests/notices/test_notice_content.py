"""Each notice says what its reader needs, and nothing that could harm them."""

import html
import re
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_parts import Build

from relocation.notices.kinds import NoticeKind
from relocation.notices.wire import wire_bytes

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
CLAIM_URL = "https://cloud.example.org/account/recover/confirm/7/s3cr3t/"
OUR_LINKS = {
    f"mailto:help@cloud.example.org?subject=Relocation%20{RELOCATION}",
    "https://cloud.example.org",
    CLAIM_URL,
}
EVIL = "<script>x</script> visit https://evil.com or boss@evil.com\r\nBcc: all@evil.com\u202e"

Part = Callable[[EmailMessage], str]


def _visible(source: str) -> str:
    """Return what a reader of the HTML sees, on one line."""
    body = source.partition("<body")[2]
    words = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())
    return words.replace("\u2060", "").replace("\u2019", "'")


def _both(message: EmailMessage, text_of: Part, html_of: Part) -> list[str]:
    plain = " ".join(text_of(message).split()).replace("\u2060", "")
    return [plain, _visible(html_of(message))]


@pytest.mark.parametrize("kind", [kind for kind in NoticeKind if kind is not NoticeKind.OPERATOR])
def test_every_notice_names_the_product_the_support_and_the_relocation(
    kind: NoticeKind, build: Build, text_of: Part, html_of: Part
) -> None:
    for words in _both(build(kind), text_of, html_of):
        for needed in ("Sentinel Cloud", "help@cloud.example.org", RELOCATION):
            assert needed in words
        for leak in ("Traceback", "None", "Undefined", "{{", "{%", "&lt;"):
            assert leak not in words


def test_an_inbox_shows_the_first_words_whole(build: Build, html_of: Part) -> None:
    """Mail clients show 40 to 100 characters beside the subject."""
    long = "operator" * 7
    for kind in NoticeKind:
        (preheader,) = re.findall(r'class="preheader".*?>(.*?)<', html_of(build(kind, owner=long)))
        assert 40 <= len(preheader) <= 100
        assert preheader.endswith((".", "…", ":"))


def test_started_says_what_was_asked_and_that_a_mail_will_follow(
    build: Build, text_of: Part, html_of: Part
) -> None:
    """R-21."""
    message = build(NoticeKind.STARTED)
    assert message["Subject"] == "Your relocation has started: acme, globex"
    for words in _both(message, text_of, html_of):
        for needed in ("acme, globex", "olivia", "marcus", "a few minutes", "if it fails"):
            assert needed in words
        assert "19 March 2026, 14:05 UTC" in words


def test_started_names_a_creator_only_when_it_is_another(
    build: Build, text_of: Part, html_of: Part
) -> None:
    for words in _both(build(NoticeKind.STARTED, creator="olivia"), text_of, html_of):
        assert "Requested by" not in words


def test_failed_answers_the_reader_in_order(build: Build, text_of: Part, html_of: Part) -> None:
    """Issue 83702: what failed, what is changed, what happens, what to do, what to quote."""
    message = build(NoticeKind.FAILED)
    assert message["Subject"] == "Your relocation has failed: acme, globex"
    for words in _both(message, text_of, html_of):
        answers = [
            "acme, globex",
            "The export has no organization acme: check the slug.",
            "Nothing was changed in Sentinel Cloud",
            "The relocation has stopped",
            "Correct this, then request the relocation again.",
            RELOCATION,
        ]
        places = [words.index(answer) for answer in answers]
        assert places == sorted(places)
        assert "19 March 2026, 14:05 UTC" in words
        assert "Attempt" not in words


@pytest.mark.parametrize(
    ("state", "said", "unsaid"),
    [
        ("unchanged", "Nothing was changed", ["hidden", "ready to use"]),
        ("hidden", "It's hidden: nobody can see or use it", ["Nothing was changed"]),
        ("visible", "and ready to use", ["hidden", "Nothing was changed", "couldn't move"]),
    ],
)
def test_failed_says_what_state_the_destination_is_in(
    state: str, said: str, unsaid: list[str], *, build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.FAILED, destination_state=state)
    for words in _both(message, text_of, html_of):
        assert said in words
        assert not [wrong for wrong in unsaid if wrong in words]


def test_failed_of_a_later_round_says_which(build: Build, text_of: Part, html_of: Part) -> None:
    for words in _both(build(NoticeKind.FAILED, round=2), text_of, html_of):
        assert re.search(r"Attempt:? +2", words)


def test_failed_can_be_told_of_a_request_without_organizations(
    build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.FAILED, organizations=[])
    assert message["Subject"] == "Your relocation has failed"
    for words in _both(message, text_of, html_of):
        assert re.search("A relocation to Sentinel Cloud (has )?failed", words)


def test_succeeded_says_slugs_counts_losses_and_what_to_do_about_dsns(
    build: Build, text_of: Part, html_of: Part
) -> None:
    """R-21."""
    message = build(NoticeKind.SUCCEEDED)
    assert message["Subject"] == "Your relocation has succeeded: acme, globex-x7"
    for words in _both(message, text_of, html_of):
        for needed in ("pdate your DSNs", "globex-x7", "1,204 members"):
            assert needed in words
        for needed in ("1 project,", "31 client keys", "We emailed 12 members a link"):
            assert needed in words
        assert re.search(r'renamed: ["“] ?globex ?["”] was taken', words)
        assert words.count("renamed") == 1
        assert re.search(r"Source code repositories:? 3 records", words)


def test_succeeded_is_silent_about_losses_and_claims_where_there_are_none(
    build: Build, text_of: Part, html_of: Part
) -> None:
    for words in _both(build(NoticeKind.SUCCEEDED, not_moved=[], claims=0), text_of, html_of):
        assert "not moved" not in words.lower()
        assert "mailed" not in words


def test_claim_says_who_moved_what_where_to_claim_and_until_when(
    build: Build, text_of: Part, html_of: Part
) -> None:
    """R-22, W-32."""
    message = build(NoticeKind.CLAIM)
    assert message["Subject"] == "Claim your account on Sentinel Cloud"
    for words in _both(message, text_of, html_of):
        for needed in (
            "olivia moved Acme, Globex from sentry.acme.example to Sentinel Cloud",
            "jane",
            CLAIM_URL,
            "26 March 2026",
        ):
            assert needed in words
    assert html_of(message).count(f'href="{CLAIM_URL}"') == 2


def test_claim_of_an_unknown_host_says_so_and_a_renewed_one_that_it_replaces_the_last(
    build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.CLAIM, old_host="", renewed=True)
    for words in _both(message, text_of, html_of):
        assert "from the installation you used before to Sentinel Cloud" in words
        assert "This link replaces the one we sent you earlier." in words
        assert "Moved from" not in words


@pytest.mark.parametrize(
    "username", ["jane.doe", "jane@example.net", "j.d+x@a.example.org", "Ann Lee"]
)
def test_a_username_is_shown_to_the_letter_since_it_is_to_be_copied(
    username: str, build: Build, text_of: Part, html_of: Part
) -> None:
    """A word joiner in it made a login fail."""
    message = build(NoticeKind.CLAIM, username=username)
    assert f"Your username:  {username}\n" in text_of(message)
    shown = re.search(r"Your username</th><td[^>]*><strong>(.*?)</strong>", html_of(message))
    assert shown is not None
    assert html.unescape(re.sub(r"<[^>]*>", "", shown[1])) == username
    # Marks alone keep a mail client from making a link of it.
    assert username not in shown[1] or not re.search(r"[.@]", username)


def test_a_username_that_is_the_readers_address_can_be_copied(
    build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.CLAIM, username="jane@example.net", recipient="jane@example.net")
    assert "jane@example.net" in text_of(message)
    assert "<strong>jane@example.net</strong>" in html_of(message)


EVIL_FACTS: list[tuple[NoticeKind, dict[str, Any]]] = [
    (NoticeKind.STARTED, {"organizations": [EVIL], "owner": EVIL, "creator": EVIL + "2"}),
    (NoticeKind.FAILED, {"organizations": [EVIL], "reason": EVIL, "next_step": EVIL}),
    (
        NoticeKind.SUCCEEDED,
        {
            "organizations": [
                {"name": EVIL, "slug": EVIL, "old_slug": "<b>" + EVIL, "renamed": "taken"}
            ],
            "not_moved": [{"what": EVIL, "count": 1}],
        },
    ),
    (NoticeKind.CLAIM, {"organizations": [EVIL], "owner": EVIL, "username": EVIL}),
]


@pytest.mark.parametrize(("kind", "changes"), EVIL_FACTS)
def test_evil_names_become_neither_markup_nor_links_nor_headers(
    kind: NoticeKind, changes: dict[str, Any], build: Build, text_of: Part, html_of: Part
) -> None:
    """M-11, A-145."""
    message = build(kind, **changes)
    source, plain = html_of(message), text_of(message)
    assert "<script" not in source
    assert "&lt;script&gt;" in source
    assert "evil.\u2060com" in plain
    for part in (source, plain, str(message["Subject"])):
        for danger in ("evil.com", "https://evil", "@evil", "\u202e"):
            assert danger not in part
    assert message["Bcc"] is None
    assert b"\r\nBcc:" not in wire_bytes(message)
    assert set(re.findall(r'href="([^"]*)"', source)) <= OUR_LINKS


@settings(max_examples=60, deadline=None)
@given(slug=st.text(max_size=300), reason=st.text(max_size=700))
def test_whatever_the_names_are_a_notice_is_well_formed_and_holds_no_foreign_link(
    build: Build, text_of: Part, html_of: Part, slug: str, reason: str
) -> None:
    message = build(NoticeKind.FAILED, organizations=[slug, slug], reason=reason)
    assert len(str(message["Subject"]).splitlines()) == 1
    plain = text_of(message).replace("help@cloud.example.org", "")
    assert not re.search(r"\S[.@][^\W\d_]|://", plain)
    source = html_of(message)
    assert set(re.findall(r'href="([^"]*)"', source)) <= OUR_LINKS
    assert "<script" not in source.lower()
    assert wire_bytes(message).isascii()


@pytest.mark.parametrize("kind", NoticeKind)
def test_five_hundred_organizations_with_long_names_stay_below_100_kb(
    kind: NoticeKind, build: Build, text_of: Part, html_of: Part
) -> None:
    """Mail clients clip what is longer."""
    name = "ö" * 300
    organizations: list[Any] = [f"{name}{n}" for n in range(500)]
    if kind is NoticeKind.SUCCEEDED:
        organizations = [
            {"name": one, "slug": one, "old_slug": name, "renamed": "taken"}
            for one in organizations
        ]
    message = build(kind, organizations=organizations)
    assert len(wire_bytes(message)) < 100_000
    assert len(str(message["Subject"])) <= 160
    for words in _both(message, text_of, html_of):
        assert re.search(r"and 4\d\d more", words)


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_needs_nothing_from_the_network(
    kind: NoticeKind, build: Build, html_of: Part
) -> None:
    source = html_of(build(kind))
    assert not re.search(r"<(img|link|script|iframe)\b|\bsrc=|url\(|@import", source)

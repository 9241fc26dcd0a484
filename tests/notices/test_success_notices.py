"""What SUCCEEDED and CLAIM notices are made from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from mail_parts import Build
from sqlalchemy import Engine

from relocation.catalogue import load_catalogue
from relocation.findings import FindingKind
from relocation.ledger.relocations import get_relocation
from relocation.model import Claim, MovedOrganization, RecordCounts, Relocation
from relocation.notices.kinds import NoticeKind
from relocation.notices.labels import label
from relocation.notices.success import (
    HandOver,
    claim_drafts,
    not_moved,
    renamed_because,
    started_drafts,
    success_drafts,
)
from relocation.settings import Settings
from relocation.steps import Step
from relocation.transfer.load.importing import ImportReport

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
NOW = datetime(2026, 3, 19, 14, 5, tzinfo=UTC)
OPERATOR = "operator@example.org"
MOVED = [
    MovedOrganization(1, "Acme", "acme", "acme", members=2, projects=3, keys=4),
    MovedOrganization(2, "Globex", "globex-x7", "globex", members=1, projects=0, keys=1),
]


def claim(username: str, email: str) -> Claim:
    return Claim(7, username, email, "s3cr3t", ("Acme",))


@pytest.fixture
def relocation(ledger: Engine) -> Relocation:
    """The relocation of the ledger, with its owner's address."""
    return replace(get_relocation(ledger, RELOCATION), owner_email="o@example.org")


def _succeeded(relocation: Relocation, claims: Sequence[Claim] = ()) -> dict[str, Any]:
    (draft,) = success_drafts(
        relocation,
        MOVED,
        claims,
        left_behind={},
        handover=HandOver.ATTACHED,
        operator=OPERATOR,
        now=NOW,
    )
    return draft.context


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("acme", "acme", ""),
        ("acme", "acme-x7", "taken"),
        ("acme-corp", "acme-corp-k2p9z", "taken"),
        # Cut to make room for the suffix.
        ("a" * 50, "a" * 40 + "-x7", "taken"),
        ("Acme_Corp", "acme-corp", "invalid"),
        # Made valid, and taken as well: it could not stay in any case.
        ("Acme", "acme-x7", "invalid"),
        ("acme_corp", "acme-corp", "invalid"),
        # A number would be taken for an id.
        ("12345", "12345-x7", "invalid"),
        # Nothing was left of it, or it is reserved.
        ("___", "0a1b2c3d4e5f", "invalid"),
        ("admin", "0a1b2c3d4e5f", "invalid"),
    ],
)
def test_a_rename_says_whether_the_slug_was_taken_or_made_valid(
    old: str, new: str, cause: str
) -> None:
    assert renamed_because(old, new) == cause


def test_what_was_not_moved_is_told_in_words_with_what_the_scan_skipped() -> None:
    report = ImportReport(
        {
            "sentry.rule": RecordCounts(read=9, inserted=5, skipped=1, dropped=3),
            "sentry.team": RecordCounts(read=2, inserted=2),
            "sentry.user": RecordCounts(read=3, merged=3),
        },
        (),
    )
    left_behind = {
        "sentry.repository": {FindingKind.OUT_OF_SCOPE: 7},
        "sentry.rule": {FindingKind.REPEATED_RECORD: 1},
        "acme.widget": {FindingKind.UNKNOWN_MODEL: 2},
        "acme.gadget": {FindingKind.UNKNOWN_MODEL: 1},
    }
    assert not_moved(report.left_behind(left_behind)) == [
        {"what": "source code repositories", "count": 7},
        {"what": "issue alert rules", "count": 5},
        {"what": "records of an unknown kind", "count": 3},
    ]


def test_every_model_of_the_catalogue_has_label_people() -> None:
    unknown = label("acme.widget")
    for model in load_catalogue():
        words = label(model)
        assert words != unknown
        assert "." not in words
        assert "_" not in words
        assert len(words) <= 60


def test_only_claims_with_an_address_count_as_mailed(relocation: Relocation) -> None:
    claims = [claim("a", "a@example.org"), claim("b", ""), claim("c", "not an address")]
    context = _succeeded(relocation, claims=claims)
    assert (context["claims"], context["claims_without_address"]) == (1, 2)
    drafts = claim_drafts(relocation, claims, Settings(), NOW)
    assert [draft.recipient for draft in drafts] == ["a@example.org"]


def test_a_claim_link_is_said_to_work_for_a_day_or_more(relocation: Relocation) -> None:
    """W-32."""
    settings = Settings(claim_link_hours=24, base_url="https://cloud.example.org/")
    (draft,) = claim_drafts(relocation, [claim("a", "a@example.org")], settings, NOW)
    assert draft.context["valid_until"] == "2026-03-20T14:05:00+00:00"
    assert draft.context["claim_url"].startswith("https://cloud.example.org/account/")
    assert "s3cr3t" in draft.context["claim_url"]


def test_a_claim_that_is_renewed_is_a_notice_of_its_own(relocation: Relocation) -> None:
    claims = [claim("a", "a@example.org")]
    (first,) = claim_drafts(relocation, claims, Settings(), NOW)
    (second,) = claim_drafts(
        relocation, claims, Settings(), NOW, editions={"a": 1}, old_host="old.example.org"
    )
    assert first.key("r-1", 1) != second.key("r-1", 1)
    assert first.valid_until == second.valid_until == NOW + timedelta(hours=1)
    assert (first.context["renewed"], second.context["renewed"]) == (False, True)
    assert second.context["old_host"] == "old.example.org"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (900, "a few minutes"),
        (200_000, "less than an hour"),
        (5_000_000, "a few hours"),
        (10**9, "several hours"),
    ],
)
def test_started_says_how_long_it_takes_for_its_size(
    records: int,
    said: str,
    *,
    relocation: Relocation,
    build: Build,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    (draft,) = started_drafts(relocation, OPERATOR, NOW, records=records)
    message = build(NoticeKind.STARTED, **draft.context)
    for part in (text_of(message), html_of(message)):
        assert said in part
        assert "24 hours" not in part
        assert "review" not in part


def test_started_says_where_an_operator_looks_at_it_first(
    relocation: Relocation,
    build: Build,
    text_of: Callable[[EmailMessage], str],
) -> None:
    paused = replace(relocation, pause_before_step=Step.IMPORTING)
    (draft,) = started_drafts(paused, OPERATOR, NOW, records=9)
    assert "One of our operators will review it" in text_of(
        build(NoticeKind.STARTED, **draft.context)
    )


def test_succeeded_counts_members_projects_and_keys_of_all_organizations(
    relocation: Relocation,
) -> None:
    context = _succeeded(relocation)
    assert context["counts"] == {"members": 3, "projects": 3, "keys": 5}
    assert [one["renamed"] for one in context["organizations"]] == ["", "taken"]


def test_drafts_hold_every_fact_their_templates_ask_for(
    relocation: Relocation, build: Build, facts: dict[NoticeKind, Any]
) -> None:
    """The facts that the other tests build from are those of real drafts."""
    succeeded = _succeeded(relocation)
    (started,) = started_drafts(relocation, OPERATOR, NOW, records=10)
    (claimed,) = claim_drafts(relocation, [claim("a", "a@example.org")], Settings(), NOW)
    assert succeeded.keys() == facts[NoticeKind.SUCCEEDED].keys() | {"stands_in_for"}
    assert started.context.keys() == facts[NoticeKind.STARTED].keys() | {"stands_in_for"}
    assert claimed.context.keys() == facts[NoticeKind.CLAIM].keys()
    assert build(NoticeKind.SUCCEEDED, **succeeded)["Subject"].startswith(
        "Your relocation has succeeded"
    )


def test_succeeded_tells_whose_link_could_not_be_mailed(
    build: Build,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    message = build(NoticeKind.SUCCEEDED, claims_without_address=2)
    for part in (text_of(message), html_of(message)):
        assert "2 members have" in part


def test_succeeded_says_how_many_members_have_another_name(
    build: Build,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    message = build(NoticeKind.SUCCEEDED, renamed_users=2)
    for part in (text_of(message), html_of(message)):
        assert "2 members have a new username here" in " ".join(part.split())
    message = build(NoticeKind.SUCCEEDED)
    for part in (text_of(message), html_of(message)):
        assert "new username" not in part

"""What FAILED, CANCELLED and OPERATOR notices are made from."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from mail_parts import Build
from sqlalchemy import Engine

from relocation.errors import NOTHING_TO_DO, EncryptionError
from relocation.findings import Finding, FindingKind
from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.relocations import get_relocation
from relocation.model import Relocation
from relocation.notices.building import Branding
from relocation.notices.failure import Destination, cancelled_drafts, failure_drafts
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind, Window
from relocation.notices.operator import (
    Operator,
    digest_draft,
    failed_drafts,
    stuck_drafts,
    undeliverable_drafts,
    unsettled_drafts,
)
from relocation.notices.rendering import Trusted
from relocation.steps import Status, Step, Task

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
NOW = datetime(2026, 3, 19, 14, 5, tzinfo=UTC)
OPERATOR = "operator@example.org"

Part = Callable[[EmailMessage], str]


@pytest.fixture
def relocation(ledger: Engine) -> Relocation:
    """The relocation of the ledger, with its owner's address."""
    return replace(get_relocation(ledger, RELOCATION), owner_email="o@example.org")


def _failed(
    relocation: Relocation, *, advice: str = "Ask again.", findings: Sequence[Finding] = ()
) -> dict[str, Any]:
    (draft,) = failure_drafts(
        relocation,
        reason="It failed.",
        advice=advice,
        findings=findings,
        destination=Destination.UNCHANGED,
        operator=OPERATOR,
        now=NOW,
    )
    assert draft.recipient == "o@example.org"
    return draft.context


@pytest.mark.parametrize(
    ("advice", "said", "unsaid"),
    [
        (NOTHING_TO_DO, "until one of our operators resumes it", "try again"),
        (EncryptionError.next_step, EncryptionError.next_step, "until one of our operators"),
    ],
)
def test_only_what_an_operator_can_go_on_with_is_said_to_wait_for_one(
    advice: str,
    said: str,
    unsaid: str,
    *,
    relocation: Relocation,
    build: Build,
    text_of: Part,
) -> None:
    text = text_of(build(NoticeKind.FAILED, **_failed(relocation, advice=advice)))
    assert said in text
    assert advice in text
    assert unsaid not in text


def test_the_first_ten_differences_are_told_in_words_and_the_others_counted(
    relocation: Relocation, build: Build, text_of: Part, html_of: Part
) -> None:
    findings = [
        Finding(FindingKind.UNEQUAL, "sentry.rule", "The values differ.", "label", pk)
        for pk in range(1, 15)
    ]
    message = build(NoticeKind.FAILED, **_failed(relocation, findings=findings))
    for part in (text_of(message), html_of(message)):
        assert part.count("The values differ.") == 10
        assert "Issue alert rules, record 10" in part
        assert "record 11" not in part
        assert "and 4 more differences" in part
        assert "sentry.rule" not in part.replace("\u2060", "")


def test_a_failure_without_findings_lists_none(
    build: Build, text_of: Part, relocation: Relocation
) -> None:
    assert "difference" not in text_of(build(NoticeKind.FAILED, **_failed(relocation)))


@pytest.mark.parametrize("destination", Destination)
@pytest.mark.parametrize("kind", [NoticeKind.FAILED, NoticeKind.CANCELLED])
def test_each_state_of_the_destination_has_its_own_answer(
    kind: NoticeKind, destination: Destination, build: Build, text_of: Part, html_of: Part
) -> None:
    """Part was imported only where a chunk was written; else nothing was changed."""
    sayings = {
        Destination.UNCHANGED: "Nothing was changed",
        Destination.HIDDEN: "Some of the data may already be in",
        Destination.VISIBLE: "ready to use",
        Destination.REMOVED: "has been removed",
    }
    message = build(kind, destination_state=destination.value)
    for part in (text_of(message), html_of(message)):
        words = " ".join(part.split())
        assert [one for one, said in sayings.items() if said in words] == [destination]


def test_cancelled_is_told_with_what_is_left(relocation: Relocation, build: Build) -> None:
    """W-43."""
    (draft,) = cancelled_drafts(
        relocation, destination=Destination.REMOVED, operator=OPERATOR, now=NOW
    )
    assert draft.context["destination_state"] == "removed"
    assert build(NoticeKind.CANCELLED, **draft.context)["Subject"].startswith(
        "Your relocation was cancelled: acme"
    )


OPERATORS = Operator(OPERATOR)
(STUCK,) = stuck_drafts(
    OPERATORS, ["acme"], status=Status.IN_PROGRESS, step=Step.IMPORTING, since=NOW
)
(UNSETTLED,) = unsettled_drafts(OPERATORS, [], why="OperationalError: disk is full\n" + "x" * 900)


def _undeliverable(
    kind: NoticeKind = NoticeKind.CLAIM, reply: str = "", *, waits: bool = False
) -> NoticeDraft:
    (draft,) = undeliverable_drafts(
        OPERATORS, ["acme"], kind=kind, recipient="jane@example.net", reply=reply, waits=waits
    )
    return draft


@pytest.mark.parametrize(
    ("draft", "needed"),
    [
        (STUCK, ["19 March 2026, 14:05 UTC", "IN_PROGRESS in IMPORTING", "relocation recover"]),
        (
            _undeliverable(reply="550 <jane@example.net> unknown"),
            ["A CLAIM email", "550 <j***@example.net> unknown", "relocation claims renew"],
        ),
        (_undeliverable(), ["(none given)"]),
        (_undeliverable(NoticeKind.FAILED), [f"relocation notices resend {RELOCATION}"]),
        (
            _undeliverable(NoticeKind.FAILED, "FAILED: no such variable", waits=True),
            ["can't be built", "no such variable", "relocation notices preview FAILED"],
        ),
        (UNSETTLED, ["disk is full", "xxx..."]),
    ],
)
def test_each_alert_tells_an_operator_what_is_wrong_and_which_command_to_run(
    draft: NoticeDraft, needed: list[str], build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.OPERATOR, **draft.context)
    for part in (text_of(message), html_of(message)):
        words = " ".join(part.replace("\u2060", "").replace("\u2019", "'").split())
        for one in [*needed, f"relocation show {RELOCATION}"]:
            assert one in words.replace("&lt;", "<").replace("&gt;", ">")
        assert "jane@" not in words
    assert len(str(message["Subject"]).splitlines()) == 1


FAILURE_WINDOW = Window("import_organizations:OSError", timedelta(minutes=15))


def _failure(fault: str = "OSError: No space left on device") -> NoticeDraft:
    (draft,) = failed_drafts(
        OPERATORS,
        ["acme"],
        task=Task.IMPORT_ORGANIZATIONS,
        tries=5,
        reason="We couldn't complete the import because of a problem on our side.",
        fault=fault,
        destination=Destination.HIDDEN,
        window=FAILURE_WINDOW,
        now=NOW,
    )
    return draft


def test_a_failure_tells_operators_what_it_takes_to_mend_it(
    build: Build, text_of: Part, html_of: Part
) -> None:
    message = build(NoticeKind.OPERATOR, **_failure().context)
    assert message["Subject"] == "Relocation failed in import_organizations: acme"
    for part in (text_of(message), html_of(message)):
        words = " ".join(part.split())
        for needed in (
            "because of a problem on our side",
            "OSError: No space left on device",
            "import_organizations",
            "nobody can see or use it",
            "19 March 2026, 14:05 UTC",
            f"relocation show {RELOCATION}",
            f"relocation recover {RELOCATION}",
            f"relocation recover --like {RELOCATION}",
        ):
            assert needed in words
        assert re.search(r"Tries:? +5", re.sub(r"<[^>]*>", " ", words))


def test_a_digest_lists_the_relocations_and_how_to_resume_them(
    build: Build, text_of: Part, html_of: Part
) -> None:
    told = [(f"r-{number}", _failure().context) for number in range(60)]
    digest = digest_draft(OPERATOR, Channel.MAIL, told, about="digest:1")
    message = build(NoticeKind.OPERATOR, **digest.context)
    assert message["Subject"] == "60 more relocations failed in import_organizations"
    for part in (text_of(message), html_of(message)):
        assert "r-49" in part
        assert "r-50" not in part
        assert "and 10 more" in part
        assert "relocation recover --like r-0" in part
        assert "relocation recover --all-failed-since 2026-03-19T14:05:00+00:00" in part


def test_operators_get_a_link_to_the_run_where_the_address_of_the_ui_is_known(
    branding: Branding, build: Build, text_of: Part, html_of: Part
) -> None:
    here = replace(branding, runs_url=Trusted("http://prefect.example.org:4200/runs/flow-run/"))
    link = f"http://prefect.example.org:4200/runs/flow-run/{RELOCATION}"
    told = [(RELOCATION, _failure().context)] * 2
    digest = digest_draft(OPERATOR, Channel.MAIL, told, about="digest:1")
    for context in (_failure().context, digest.context, STUCK.context):
        message = build(NoticeKind.OPERATOR, branding=here, **context)
        assert link in text_of(message)
        assert f'href="{link}"' in html_of(message)
        assert "prefect.example.org" not in text_of(build(NoticeKind.OPERATOR, **context))


def test_a_notice_to_operators_that_cannot_be_delivered_is_not_told_by_another() -> None:
    """It would go on for ever."""
    told = undeliverable_drafts(
        OPERATORS, [], kind=NoticeKind.OPERATOR, recipient="jane@example.net", reply=""
    )
    assert told == []


def test_each_alert_is_a_notice_of_its_own_and_told_once_a_round(ledger: Engine) -> None:
    """However many notices of a kind bounce, and however often a stuck one is found."""
    drafts = [STUCK, UNSETTLED, _undeliverable(), _undeliverable(NoticeKind.FAILED)]
    with ledger.begin() as connection:
        for round_ in (1, 1, 2):
            for draft in [*drafts, _undeliverable(reply="another reply")]:
                enqueue(
                    connection, RELOCATION, round_, [draft], sender_domain="example.org", now=NOW
                )
    told = notices_of(ledger, RELOCATION)
    assert [notice.round for notice in told] == [1] * 4 + [2] * 4
    assert len({notice.message_id for notice in told}) == 8

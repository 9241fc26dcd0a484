"""A notice is one well-formed message to one reader."""

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from mail_parts import Build

from relocation.errors import ConfigurationError
from relocation.notices.building import Branding, NoticeError, build_notice
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates, Trusted
from relocation.notices.wire import wire_bytes
from relocation.settings import Settings

ONCE = (
    "Message-ID",
    "Date",
    "From",
    "To",
    "Reply-To",
    "Subject",
    "List-Id",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "MIME-Version",
    "Content-Type",
)


def _received(message: EmailMessage) -> EmailMessage:
    return email.message_from_bytes(wire_bytes(message), policy=email.policy.default)


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_has_a_text_and_an_html_part_in_this_order(kind: NoticeKind, build: Build) -> None:
    """A-140."""
    message = _received(build(kind))
    assert message.get_content_type() == "multipart/alternative"
    parts = list(message.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert {part["Content-Transfer-Encoding"] for part in parts} == {"quoted-printable"}
    assert not message.defects


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_has_each_header_once_and_no_other(kind: NoticeKind, build: Build) -> None:
    """A-141, A-144, A-146, M-12, W-30, W-40: one reader, and no automatic answer."""
    message = _received(build(kind))
    assert sorted(message.keys()) == sorted(ONCE)
    assert message["From"] == "Sentinel Cloud <noreply@relocation.example.org>"
    assert message["To"] == "olivia@example.org"
    assert message["Reply-To"] == "help@cloud.example.org"
    assert message["Message-ID"] == "<abc@relocation.example.org>"
    assert message["Date"].datetime == datetime(2026, 3, 19, 14, 6, tzinfo=UTC)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["List-Id"] == "<notices.relocation.example.org>"


def test_an_answer_refers_to_the_first_notice(build: Build) -> None:
    """A-143."""
    message = _received(build(NoticeKind.FAILED, in_reply_to="<first@relocation.example.org>"))
    assert message["In-Reply-To"] == "<first@relocation.example.org>"
    assert message["References"] == "<first@relocation.example.org>"


@pytest.mark.parametrize("kind", [NoticeKind.FAILED, NoticeKind.SUCCEEDED, NoticeKind.CANCELLED])
def test_the_subject_of_an_answer_says_that_it_is_one(kind: NoticeKind, build: Build) -> None:
    """A-143, M-4; a notice that answers none does not claim to."""
    answer = _received(build(kind, in_reply_to="<first@relocation.example.org>"))
    first = _received(build(kind))
    assert answer["Subject"] == f"Re: {first['Subject']}"
    assert not first["Subject"].startswith("Re:")
    assert first["References"] is None


def test_every_subject_begins_with_the_prefix_of_the_settings(
    build: Build, branding: Branding
) -> None:
    """After the "Re: " of an answer, so that mail clients keep the thread."""
    prefixed = replace(branding, subject_prefix="[Sentry]")
    for kind in NoticeKind:
        plain = build(kind)["Subject"]
        assert build(kind, branding=prefixed)["Subject"] == f"[Sentry] {plain}"
    answer = build(NoticeKind.FAILED, branding=prefixed, in_reply_to="<first@example.org>")
    assert str(answer["Subject"]).startswith("Re: [Sentry] Your relocation has failed")


def test_a_subject_leaves_the_name_of_the_product_as_it_is(
    build: Build, branding: Branding
) -> None:
    """Link-like text of a request is broken there, and nothing else is."""
    named = replace(branding, product_name=Trusted("sentry.example.org"))
    subject = str(build(NoticeKind.CLAIM, branding=named)["Subject"])
    assert subject == "Claim your account on sentry.example.org"
    assert "acme.\u2060io" in build(NoticeKind.FAILED, organizations=["acme.io"])["Subject"]


def test_a_prefix_of_the_subject_stays_short_and_on_its_line() -> None:
    branding = Branding.of(Settings(subject_prefix="[Sentry]\r\nBcc: x@example.org " + "x" * 90))
    assert branding.subject_prefix.startswith("[Sentry] Bcc")
    assert len(branding.subject_prefix) <= 40


def test_who_stands_in_for_an_owner_does_not_read_that_it_is_his_relocation(build: Build) -> None:
    subject = build(NoticeKind.FAILED, stands_in_for=['the owner "olivia"'])["Subject"]
    assert subject == "Relocation failed: acme, globex"


def test_long_identifiers_are_written_as_they_are(build: Build) -> None:
    long = f"<{'a' * 110}@relocation.example.org>"
    wire = wire_bytes(build(NoticeKind.FAILED, message_id=long, in_reply_to=long))
    assert f"\r\nReferences: {long}\r\n".encode() in wire
    assert wire.startswith(f"Message-ID: {long}\r\n".encode())


def test_the_same_facts_give_the_same_bytes(build: Build) -> None:
    assert wire_bytes(build(NoticeKind.CLAIM)) == wire_bytes(build(NoticeKind.CLAIM))


def test_the_bytes_are_ascii_with_crlf_and_short_lines(build: Build) -> None:
    wire = wire_bytes(build(NoticeKind.FAILED, reason="Größe: 冷" * 90, organizations=["ü" * 99]))
    assert wire.isascii()
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")
    assert max(map(len, wire.split(b"\r\n"))) < 998


@pytest.mark.parametrize("address", ["ann@corp.local", "ann@mailhost", "root@localhost"])
def test_addresses_of_a_local_network_are_taken(address: str, build: Build) -> None:
    assert build(NoticeKind.STARTED, recipient=address)["To"] == address


def test_an_international_domain_is_written_in_ascii(build: Build) -> None:
    message = build(NoticeKind.STARTED, recipient="ann@bücher.example.org")
    assert message["To"] == "ann@xn--bcher-kva.example.org"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "ann@",
        "Ann <ann@example.org>",
        "ann@example.org\r\nBcc: eve@example.org",
        "ann@example.org, eve@example.org",
        "änn@example.org",
    ],
)
def test_a_bad_address_is_refused(address: str, build: Build) -> None:
    """W-45: it is an error that somebody sees, never a silent omission."""
    with pytest.raises(NoticeError):
        build(NoticeKind.STARTED, recipient=address)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x.org/ y", "/relative", ""])
def test_a_claim_link_must_be_a_web_address(url: str, build: Build) -> None:
    with pytest.raises(NoticeError):
        build(NoticeKind.CLAIM, claim_url=url)


@pytest.mark.parametrize("message_id", ["abc", "<a b@c>", "<a@b>\r\nBcc: eve@example.org"])
def test_a_malformed_message_id_is_refused(message_id: str, build: Build) -> None:
    with pytest.raises(NoticeError):
        build(NoticeKind.STARTED, message_id=message_id)


def test_a_missing_fact_is_an_error_that_names_it(branding: Branding, templates: Templates) -> None:
    with pytest.raises(NoticeError, match="'organizations' is undefined") as caught:
        build_notice(
            NoticeKind.STARTED,
            recipient="olivia@example.org",
            context={},
            message_id="<abc@relocation.example.org>",
            date=datetime.now(UTC),
            branding=branding,
            templates=templates,
        )
    assert "organizations" not in caught.value.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"sender_email": "nobody"},
        {"support_email": "a@b@c"},
        {"base_url": "cloud.example.org"},
        {"product_name": "A\r\nBcc: eve@example.org"},
    ],
)
def test_settings_no_notice_could_be_built_with_are_refused_at_once(wrong: dict[str, str]) -> None:
    """Otherwise each notice would be given up for a fault of the settings."""
    with pytest.raises(ConfigurationError):
        Branding.of(Settings.model_validate(wrong))


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        (
            NoticeKind.STARTED,
            {"organizations": ["acme"], "owner": "o", "creator": "o", "happened_at": "2026-03-19"},
            "less than a day",
        ),
        (
            NoticeKind.CLAIM,
            {
                "username": "jane",
                "organizations": ["Acme"],
                "owner": "o",
                "claim_url": "https://x.example.org/1/",
                "valid_until": "2026-03-19",
            },
            "the installation you used before",
        ),
        (
            NoticeKind.OPERATOR,
            {
                "matter": "undeliverable",
                "organizations": [],
                "undelivered": "CLAIM",
                "recipient_hint": "j***@x.org",
                "reply": "550 no",
            },
            "couldn't be delivered",
        ),
    ],
)
def test_a_notice_that_an_older_version_put_into_the_outbox_can_be_built(
    kind: NoticeKind, facts: dict[str, object], said: str, templates: Templates, branding: Branding
) -> None:
    """It may have waited there while the service was upgraded."""
    message = build_notice(
        kind,
        recipient="olivia@example.org",
        context={"relocation_id": "r-1", **facts},
        message_id="<abc@example.org>",
        date=datetime(2026, 3, 19, tzinfo=UTC),
        branding=branding,
        templates=templates,
    )
    body = message.get_body(("plain",))
    assert body is not None
    assert said in body.get_content()

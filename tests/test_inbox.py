"""The local inbox keeps every mail as files that a person can open."""

import stat
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.local.inbox import Inbox
from relocation.notices.wire import WIRE, wire_bytes

Send = Callable[..., bytes]


@pytest.fixture
def send() -> Send:
    """Send a mail to an inbox; returns its bytes."""

    def send(inbox: Inbox, subject: str = "Relocation started: acme", to: str = "a@b.org") -> bytes:
        message = EmailMessage(policy=WIRE)
        message["Subject"] = subject
        message.set_content("Grüße\n", cte="quoted-printable")
        message.add_alternative("<p>Grüße</p>\n", subtype="html", cte="quoted-printable")
        wire = wire_bytes(message)
        server = MailServerSettings("127.0.0.1", inbox.port, "none", None, None, "n@b.org", 3.0)
        with Mailer(server) as mailer:
            assert mailer.send(to, wire).state == "sent"
        return wire

    return send


def test_a_mail_is_kept_byte_for_byte_beside_its_parts(tmp_path: Path, send: Send) -> None:
    with Inbox(tmp_path / "inbox") as inbox:
        wire = send(inbox)
        (mail,) = inbox.messages()
    assert mail.path == tmp_path / "inbox" / "0001-relocation-started-acme.eml"
    assert mail.path.read_bytes() == wire
    assert mail.path.with_suffix(".txt").read_text(encoding="utf-8") == "Grüße\n"
    assert mail.path.with_suffix(".html").read_text(encoding="utf-8") == "<p>Grüße</p>\n"
    assert mail.message["Subject"] == "Relocation started: acme"
    assert (mail.part("plain"), mail.part("html")) == ("Grüße\n", "<p>Grüße</p>\n")


def test_nobody_else_can_read_a_mail(tmp_path: Path, send: Send) -> None:
    """A mail may hold the link that claims an account."""
    with Inbox(tmp_path / "inbox") as inbox:
        send(inbox)
    files = list((tmp_path / "inbox").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "inbox").stat().st_mode) == 0o700


def test_the_numbers_go_on_after_a_restart(tmp_path: Path, send: Send) -> None:
    for subject in ("One", "Two", "Two"):
        with Inbox(tmp_path) as inbox:
            send(inbox, subject)
    names = [mail.path.name for mail in inbox.messages()]
    assert names == ["0001-one.eml", "0002-two.eml", "0003-two.eml"]


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("../../etc/passwd", "0001-etc-passwd"),
        ("冷", "0001-mail"),
        ("a" * 150, f"0001-{'a' * 60}"),
    ],
)
def test_a_subject_becomes_a_harmless_name(
    subject: str, name: str, tmp_path: Path, send: Send
) -> None:
    with Inbox(tmp_path / "inbox") as inbox:
        send(inbox, subject)
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]
    assert (tmp_path / "inbox" / f"{name}.eml").is_file()


def test_files_that_are_no_mails_of_the_inbox_are_left_alone(tmp_path: Path, send: Send) -> None:
    (tmp_path / "mine.eml").write_text("Subject: mine\n\n")
    with Inbox(tmp_path) as inbox:
        assert inbox.messages() == []
        send(inbox)
        assert len(inbox.messages()) == 1


def test_an_inbox_listens_on_the_port_it_is_given_and_frees_it(tmp_path: Path, send: Send) -> None:
    with Inbox(tmp_path) as first:
        port = first.port
        with pytest.raises(OSError, match="address"), Inbox(tmp_path, port):
            pass
    with Inbox(tmp_path, port) as second:
        send(second)
    assert second.port == port

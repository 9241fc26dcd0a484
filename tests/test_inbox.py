"""The local inbox keeps every mail as files that a person can open."""

import re
import stat
import sys
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.errors import CommandError
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


RELOCATION = "0d1f3a52-7a65-4a0e-9a52-0a9c1f1f9a11"


def page(inbox: Inbox, path: str = "") -> str:
    return httpx.get(inbox.url + path).text


def test_the_page_has_every_mail_the_newest_first(tmp_path: Path, send: Send) -> None:
    for number in range(1, 251):
        path = tmp_path / f"{number:04d}-kept.eml"
        path.write_bytes(b"Subject: Kept %d\r\nTo: a@b.org\r\n\r\nText" % number)
    with Inbox(tmp_path) as inbox:
        send(inbox, "New one")
        shown = page(inbox)
    assert "251 mails, the newest first" in shown
    found = re.findall(r"Kept \d+|New one", shown)
    assert found == ["New one", *(f"Kept {number}" for number in range(250, 0, -1))]


def test_the_page_is_searched_by_words_and_by_relocation(tmp_path: Path) -> None:
    for number, (subject, text) in enumerate(
        [("Claim", f"relocation {RELOCATION}"), ("Failed", "the disk is full"), ("Claim", "else")]
    ):
        (tmp_path / f"{number}-x.eml").write_bytes(f"Subject: {subject}\n\n{text}".encode())
    with Inbox(tmp_path) as inbox:
        assert "1 mail of 3" in page(inbox, "?q=FULL+disk")
        assert "2 mails of 3" in page(inbox, "?q=claim")
        shown = page(inbox, f"?relocation={RELOCATION}")
        assert "1 mail of 3" in shown
        assert f"./?relocation={RELOCATION}" in page(inbox)


def test_a_mail_is_shown_as_text_and_as_html_which_can_do_nothing(
    tmp_path: Path, send: Send
) -> None:
    with Inbox(tmp_path) as inbox:
        send(inbox, "<b>Hello</b>")
        shown = page(inbox, "0001-b-hello-b")
        assert "<pre>Grüße\n</pre>" in shown
        assert '<iframe sandbox title="HTML" src="0001-b-hello-b.html">' in shown
        assert "&lt;b&gt;Hello" in shown
        assert page(inbox, "0001-b-hello-b.html") == "<p>Grüße</p>\n"
        headers = httpx.get(inbox.url).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["", "0001-hello", "../0001-hello", "%2e%2e/x"])
def test_who_does_not_know_the_address_sees_nothing(path: str, tmp_path: Path, send: Send) -> None:
    """Other users of the machine reach the port."""
    with Inbox(tmp_path) as inbox:
        send(inbox, "Hello")
        root = inbox.url.rpartition("/")[0].rpartition("/")[0]
        for wrong in (f"{root}/{path}", f"{root}/guess/{path}"):
            assert httpx.get(wrong).status_code == 404


def test_a_bookmark_of_the_page_goes_on_working(tmp_path: Path) -> None:
    with Inbox(tmp_path) as first:
        url = first.url
    with Inbox(tmp_path) as second:
        assert second.url == url


def test_without_its_library_the_inbox_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Production installs none of it."""
    monkeypatch.setitem(sys.modules, "aiosmtpd.controller", None)
    with pytest.raises(CommandError, match=r"pip install 'relocation\[local\]'"), Inbox(tmp_path):
        pass
    assert not list(tmp_path.iterdir())

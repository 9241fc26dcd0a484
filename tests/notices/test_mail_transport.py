"""Finished bytes go to one recipient, and the outcome is what really happened."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from smtp_peer import Peer, ServerAt, ServerChanges, Tls

from relocation.delivery import smtp as transport
from relocation.delivery.smtp import Mailer
from relocation.errors import ConfigurationError
from relocation.local.processes import free_port

WIRE = b"Subject: x\r\n\r\nline\r\n.dot\r\n..\r\n\r\nend\r\n"
ANN = "ann@example.org"
SENDER = "noreply@relocation.example.org"

Certify = Callable[[Path, str], Path]


def test_the_bytes_arrive_as_they_are_from_the_envelope_sender(peer: Peer, mailer: Mailer) -> None:
    result = mailer.send(ANN, WIRE)
    assert (result.state, result.code, result.detail) == ("sent", 250, "2.0.0 queued as T1")
    assert peer.taken == [(SENDER, [ANN], WIRE)]


@pytest.mark.parametrize(
    ("reply", "state", "connected"),
    [
        ("450 4.2.0 try later", "retry", True),  # greylisting concerns this message alone
        ("451 4.3.0 local error", "retry", True),
        ("421 4.7.0 too many", "retry", False),
        ("530 5.7.0 log in first", "retry", False),  # our fault, not the message's
        ("535 5.7.8 bad login", "retry", False),
        ("550 5.1.1 no such user", "failed", True),
        ("552 5.3.4 too big", "failed", True),
    ],
)
def test_a_refused_recipient_gets_nothing(
    reply: str, state: str, connected: bool, peer: Peer, mailer: Mailer
) -> None:
    peer.rcpt_reply[ANN] = reply
    begun: list[bool] = []
    result = mailer.send(ANN, WIRE, before_data=lambda: begun.append(True))
    assert (result.state, result.connected) == (state, connected)
    assert result.code == int(reply[:3])
    assert result.detail == reply[4:]
    assert not begun
    assert not peer.taken


@pytest.mark.parametrize(
    ("reply", "state"),
    [("451 4.3.0 disk full", "retry"), ("421 4.3.2 bye", "retry"), ("554 5.7.1 spam", "failed")],
)
def test_a_message_refused_after_its_data_was_not_delivered(
    reply: str, state: str, peer: Peer, mailer: Mailer
) -> None:
    peer.data_reply = reply
    assert mailer.send(ANN, WIRE).state == state
    assert not peer.taken


def test_a_refusal_does_not_harm_the_next_message(peer: Peer, mailer: Mailer) -> None:
    peer.rcpt_reply[ANN] = "550 5.1.1 no such user"
    assert mailer.send(ANN, WIRE).state == "failed"
    assert mailer.send("bob@example.org", WIRE).state == "sent"
    assert [recipients for _, recipients, _ in peer.taken] == [["bob@example.org"]]
    assert len(peer.connections) == 1


def test_a_connection_lost_after_data_leaves_the_outcome_unknown_and_sends_one_copy(
    peer: Peer, mailer: Mailer
) -> None:
    peer.drop_after_data = True
    result = mailer.send(ANN, WIRE)
    assert (result.state, result.code, result.connected) == ("unknown", None, False)
    assert len(peer.taken) == 1


def test_a_lost_connection_is_made_anew(peer: Peer, mailer: Mailer) -> None:
    peer.drop_after_data = True
    mailer.send(ANN, WIRE)
    peer.drop_after_data = False
    assert mailer.send(ANN, WIRE).state == "sent"
    assert len(peer.connections) == 2


def test_a_refused_connection_is_worth_a_retry(server_at: ServerAt) -> None:
    begun: list[bool] = []
    with Mailer(server_at(free_port())) as mailer:
        result = mailer.send(ANN, WIRE, before_data=lambda: begun.append(True))
        with pytest.raises(ConnectionRefusedError):
            mailer.connect()
    assert (result.state, result.code, result.connected) == ("retry", None, False)
    assert "ConnectionRefusedError" in result.detail
    assert not begun


def test_many_messages_share_a_connection(peer: Peer, mailer: Mailer) -> None:
    assert {mailer.send(ANN, WIRE).state for _ in range(20)} == {"sent"}
    assert len(peer.connections) == 1


def test_a_connection_that_was_silent_for_long_is_renewed(
    peer: Peer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "IDLE_SECONDS", 0)
    assert {mailer.send(ANN, WIRE).state for _ in range(2)} == {"sent"}
    assert len(peer.connections) == 2


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_nothing_is_sent_where_sending_could_not_be_recorded(
    error: type[Exception], peer: Peer, mailer: Mailer
) -> None:
    """An OSError of the ledger must not pass for one of the connection."""

    def refuse() -> None:
        raise error("the ledger is gone")

    with pytest.raises(RuntimeError):
        mailer.send(ANN, WIRE, before_data=refuse)
    assert not peer.taken
    assert mailer.send(ANN, WIRE).state == "sent"


@pytest.mark.parametrize("recipient", ["a@b>\r\nRCPT TO:<eve@x", "A <a@b>", "ä@example.org"])
def test_a_recipient_cannot_smuggle_commands(recipient: str, peer: Peer, mailer: Mailer) -> None:
    with pytest.raises(ValueError, match="recipient"):
        mailer.send(recipient, WIRE)
    assert not peer.connections


@pytest.mark.parametrize(
    "login",
    [{"user": "u", "password": "p", "tls": "none"}, {"user": "u", "tls": "starttls"}],
)
def test_a_login_needs_tls_and_a_password(login: ServerChanges, server_at: ServerAt) -> None:
    with pytest.raises(ConfigurationError):
        server_at(25, **login)


def test_the_password_is_never_shown(server_at: ServerAt) -> None:
    assert "hunter2" not in repr(server_at(25, tls="ssl", user="u", password="hunter2"))


@pytest.fixture(params=["ssl", "starttls"])
def secured(
    request: pytest.FixtureRequest, peer: Peer, certificate: Path
) -> Iterator[tuple[Tls, int]]:
    """A peer that takes a login over TLS alone; yields (tls, port)."""
    with _secured(peer, request.param, certificate) as port:
        yield request.param, port


@contextmanager
def _secured(peer: Peer, tls: Tls, certificate: Path) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, how: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        peer.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"hunter2", handled=False)

    options: dict[str, Any] = {"authenticator": authenticate}
    if tls == "ssl":
        options |= {"ssl_context": context, "auth_require_tls": False}
    else:
        options |= {"tls_context": context, "require_starttls": True}
    port = free_port()
    controller = Controller(peer, hostname="127.0.0.1", port=port, **options)
    controller.start()
    yield port
    controller.stop()


def test_a_secured_connection_logs_in_as_another_than_the_sender(
    secured: tuple[Tls, int], peer: Peer, certificate: Path, server_at: ServerAt
) -> None:
    tls, port = secured
    server = server_at(port, tls=tls, user="AKIAFOO", password="hunter2", cafile=str(certificate))
    with Mailer(server) as mailer:
        assert mailer.send(ANN, WIRE + b"more\r\n" * 4_000).state == "sent"
    assert peer.logins == [(b"AKIAFOO", b"hunter2")]
    assert peer.taken[0][0] == SENDER


def test_an_unknown_certificate_is_refused_before_the_login(
    secured: tuple[Tls, int], peer: Peer, server_at: ServerAt
) -> None:
    tls, port = secured
    with Mailer(server_at(port, tls=tls, user="u", password="hunter2")) as mailer:
        result = mailer.send(ANN, WIRE)
    assert (result.state, result.connected) == ("retry", False)
    assert "CERTIFICATE_VERIFY_FAILED" in result.detail
    assert not peer.logins
    assert not peer.taken


@pytest.mark.parametrize("tls", ["ssl", "starttls"])
def test_a_trusted_certificate_of_another_name_is_refused_before_the_login(
    tls: Tls, peer: Peer, tmp_path: Path, server_at: ServerAt, certify: Certify
) -> None:
    """Whoever holds any valid certificate could otherwise stand in for the mail server."""
    other = certify(tmp_path / "other.pem", "mail.example.com")
    with _secured(peer, tls, other) as port:
        server = server_at(port, tls=tls, user="u", password="hunter2", cafile=str(other))
        with Mailer(server) as mailer:
            result = mailer.send(ANN, WIRE)
    assert (result.state, result.connected) == ("retry", False)
    assert "IP address mismatch" in result.detail
    assert not peer.logins
    assert not peer.taken


def test_nothing_is_ever_asked_on_the_terminal(
    peer: Peer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library asks for a password, and for leave to store it, where it logs in by itself."""

    def asked(*_: object) -> str:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr("getpass.getpass", asked)
    assert mailer.send(ANN, WIRE).state == "sent"
    assert not peer.logins


def test_small_packets_are_not_held_back(mailer: Mailer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each message that fills more than a packet waits for an acknowledgement."""
    made: list[socket.socket] = []
    connect = socket.create_connection

    def kept(
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        made.append(connect(address, timeout, source_address))
        return made[-1]

    monkeypatch.setattr(socket, "create_connection", kept)
    mailer.connect()
    assert [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in made] == [1]


def test_a_refused_login_is_worth_a_retry_and_shows_no_password(
    secured: tuple[Tls, int], peer: Peer, certificate: Path, server_at: ServerAt
) -> None:
    tls, port = secured
    server = server_at(port, tls=tls, user="u", password="wrong-one", cafile=str(certificate))
    with Mailer(server) as mailer:
        result = mailer.send(ANN, WIRE)
    assert (result.state, result.code, result.connected) == ("retry", 535, False)
    assert "wrong-one" not in result.detail
    assert not peer.taken


def test_there_is_no_downgrade_where_starttls_is_not_offered(
    peer: Peer, server_at: ServerAt
) -> None:
    with Mailer(server_at(peer.port, tls="starttls")) as mailer:
        result = mailer.send(ANN, WIRE)
    assert result.state == "retry"
    assert not peer.taken

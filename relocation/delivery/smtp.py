"""Send finished bytes over one verified SMTP connection, and say what became of them.

yagmail makes and secures the connection. The message is ours: yagmail's own sending would change
its parts, connect anew for each message, and send copies where a connection breaks.
"""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import yagmail

from relocation.errors import ConfigurationError
from relocation.text import one_line

MAX_DETAIL = 300
EXCHANGES = 16
"""Most times that one message waits for the server: a lost connection, greeting, TLS, login"""
IDLE_SECONDS = 30.0
"""Some servers, and what is between, forget a silent connection without a word."""

_CONCERNS_US = (421, 530, 535)
"""The server closes the service, wants a login, or refuses ours: no fault of the message."""
_TOO_BIG = (523, 552)
_GO_ON = 354
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)

Envelope = tuple[str, int]
"""Who gets a message, and its size in bytes."""

State = Literal["sent", "retry", "failed", "unknown"]
"""What became of an attempt.

sent: the server took the message. retry: it certainly did not, but may later. failed: it did not,
and will not. unknown: the connection broke after the message was handed over.
"""


@dataclass(frozen=True)
class SendResult:
    """How an attempt ended, and the server's words; `connected` is whether to go on at once."""

    state: State
    code: int | None = None
    detail: str = ""
    connected: bool = True
    ours: bool = False
    """Whether a "retry" is for a fault on our side, not for the message or its recipient."""


@dataclass(frozen=True)
class MailServerSettings:
    """Where and how to connect; raises ConfigurationError for a login that could be overheard."""

    host: str
    port: int
    tls: Literal["none", "starttls", "ssl"]
    user: str | None
    password: str | None = field(repr=False)
    sender: str
    """Envelope sender of every message."""
    timeout: float = 20.0
    """Seconds one exchange with the server may take."""
    cafile: str | None = None
    """Certificate authorities to trust beside the system's."""

    def __post_init__(self) -> None:
        """Refuse a login without TLS or without a password."""
        if self.user and (self.tls == "none" or not self.password):
            raise ConfigurationError(
                "The mail server is not set up correctly.",
                internal="a login to the mail server needs TLS and a password",
            )


class Mailer:
    """One connection to a mail server, made when first needed and reused; not thread-safe."""

    def __init__(self, server: MailServerSettings) -> None:
        self._server = server
        self._tls: ssl.SSLContext | None = None
        self._connection: Any = None
        self._served = False
        self._ahead: Envelope | None = None
        """Sent with the message before it; its two answers are still to be read."""
        self._last_used = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, secure and log in unless that is done; raises OSError or ConfigurationError."""
        if time.monotonic() - self._last_used > IDLE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._connected()
            self._served = False
        self._last_used = time.monotonic()

    @property
    def patience(self) -> float:
        """Seconds that sending one message may take, with all that may come before it."""
        return EXCHANGES * self._server.timeout

    def close(self) -> None:
        """Take leave of the server; idempotent, and never raises for a connection that is gone."""
        connection, ahead = self._connection, self._ahead
        self._connection = self._ahead = None
        if connection is not None:
            with contextlib.suppress(OSError):
                if ahead:
                    _answers(connection.smtp)
                connection.smtp.quit()
            connection.smtp.close()

    def send(
        self,
        recipient: str,
        wire: bytes,
        *,
        before_data: Callable[[], None] = lambda: None,
        then: Envelope | None = None,
    ) -> SendResult:
        """Send finished bytes to one address; network errors become outcomes.

        `before_data` runs once the server took the recipient, before the message is handed over:
        from then on a lost connection means an unknown outcome. Where it raises, nothing is sent,
        and the error goes to the caller. The bytes are those of `wire_bytes`: 7 bit, CRLF alone.
        `then` is the message that is sent next: a server that takes commands in advance gets its
        envelope together with this message, which saves two waits.
        """
        for address in (recipient, *(then[:1] if then else ())):
            if not address.isascii() or any(char in " <>\r\n\0" for char in address):
                raise ValueError("a recipient must be a bare ASCII address")
        handed_over = False

        def hand_over() -> None:
            nonlocal handed_over
            before_data()
            handed_over = True

        while True:
            served = False
            try:
                self.connect()
                served = self._served
                result = self._exchange(recipient, wire, hand_over, then)
            except OSError as err:  # every error of the SMTP client is one
                self._drop()
                result = _broken(err, handed_over=handed_over)
            except BaseException:
                self._drop()
                raise
            # Servers end a connection after some messages, or some silence: then a new one is made.
            if result.connected or handed_over or not served:
                return result

    def _exchange(
        self, recipient: str, wire: bytes, hand_over: Callable[[], None], then: Envelope | None
    ) -> SendResult:
        smtp = self._connection.smtp
        smtp.ehlo_or_helo_if_needed()
        (code, text), taken = self._enveloped(smtp, recipient, len(wire))
        if not _accepted(code):
            # Except for the size, it is our sender that is refused here, and with it every message.
            return self._refused(code, text, concerns_us=code not in _TOO_BIG)
        code, text = taken or smtp.rcpt(recipient)
        if not _accepted(code):
            return self._refused(code, text)
        try:
            hand_over()
        except OSError as err:  # must not pass for an error of the connection
            raise RuntimeError("the notice could not be marked as being sent") from err
        code, text = self._data(smtp, wire, then if smtp.has_extn("pipelining") else None)
        self._served = True
        if _accepted(code):
            return SendResult("sent", code, _words(text))
        if _refusal(code):
            return self._refused(code, text)
        self._drop()  # no SMTP: what the server made of the message is anyone's guess
        return SendResult("unknown", code, _words(text), connected=False)

    def _enveloped(
        self, smtp: Any, recipient: str, size: int
    ) -> tuple[tuple[int, bytes], tuple[int, bytes] | None]:
        """Return the answer to MAIL, and the one to RCPT where that was sent in advance."""
        if self._ahead:
            ahead, self._ahead = self._ahead, None
            answers = _answers(smtp)
            if ahead == (recipient, size):
                return answers
            smtp.rset()
        options = [f"size={size}"] if smtp.has_extn("size") else []
        return smtp.mail(self._server.sender, options), None

    def _data(self, smtp: Any, wire: bytes, then: Envelope | None) -> tuple[int, bytes]:
        """Hand the message over; a refusal before its first byte is a reply like any other."""
        code, text = smtp.docmd("data")
        if code != _GO_ON:
            # An unreadable reply has a code too, but it closes the socket.
            if smtp.sock is None or not _refusal(code):
                err = ConnectionError(f"{code} {_words(text)}")
                err.smtp_code = code  # type: ignore[attr-defined]
                raise err
            return code, text
        body = _LEADING_DOT.sub(b"..", wire)
        end = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
        envelope = b""
        if then:
            size = f" size={then[1]}" if smtp.has_extn("size") else ""
            lines = f"mail FROM:<{self._server.sender}>{size}\r\nrcpt TO:<{then[0]}>\r\n"
            envelope = lines.encode("ascii")
        smtp.send(body + end + envelope)
        self._ahead = then
        answer: tuple[int, bytes] = smtp.getreply()
        return answer

    def _refused(self, code: int, text: bytes, *, concerns_us: bool = False) -> SendResult:
        """Judge a refusal; one that concerns us, not the message, ends the connection."""
        concerns_us = concerns_us or code in _CONCERNS_US
        state: State = "failed" if _for_good(code) and not concerns_us else "retry"
        if concerns_us:
            self._drop()
        else:
            try:
                if self._ahead:
                    self._ahead = None
                    _answers(self._connection.smtp)
                self._connection.smtp.rset()
            except OSError:
                self._drop()
        connected = self._connection is not None
        return SendResult(state, code, _words(text), connected=connected, ours=concerns_us)

    def _connected(self) -> Any:
        server = self._server
        if self._tls is None and server.tls != "none":
            self._tls = ssl.create_default_context()  # reads a few hundred certificates: once
            if server.cafile:
                self._tls.load_verify_locations(server.cafile)
        connection = yagmail.SMTP(
            user={server.sender: server.sender},
            host=server.host,
            port=server.port,
            smtp_ssl=server.tls == "ssl",
            smtp_starttls={"context": self._tls} if server.tls == "starttls" else False,
            smtp_skip_login=True,  # yagmail would log in as the sender, and ask on the terminal
            soft_email_validation=False,
            timeout=server.timeout,
            # Without a context of ours, yagmail would accept any certificate.
            **({"context": self._tls} if server.tls == "ssl" else {}),
        )
        connection.set_logging(None)
        try:
            connection.login()
            # Otherwise each message over 16 kB waits for a delayed acknowledgement.
            connection.smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if server.user:
                connection.smtp.login(server.user, server.password)
        except BaseException:
            if connection.smtp is not None:
                connection.smtp.close()
            raise
        return connection

    def _drop(self) -> None:
        """Close without a word: the server is gone, or in the middle of a message."""
        connection, self._connection, self._ahead = self._connection, None, None
        if connection is not None:
            connection.smtp.close()


def _answers(smtp: Any) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """Read the two answers to an envelope that was sent in advance."""
    return smtp.getreply(), smtp.getreply()


def _broken(err: OSError, *, handed_over: bool) -> SendResult:
    """Judge an error of the connection by how far the message had come."""
    return SendResult(
        "unknown" if handed_over else "retry",
        getattr(err, "smtp_code", None),
        one_line(f"{type(err).__name__}: {err}", limit=MAX_DETAIL),
        connected=False,
        ours=not handed_over,
    )


def _accepted(code: int) -> bool:
    return code // 100 == 2  # noqa: PLR2004 - the first digit of a reply is its meaning


def _for_good(code: int) -> bool:
    return code // 100 == 5  # noqa: PLR2004


def _refusal(code: int) -> bool:
    return _for_good(code) or code // 100 == 4  # noqa: PLR2004


def _words(text: bytes) -> str:
    return one_line(text.decode("utf-8", "replace"), limit=MAX_DETAIL)

"""What a server does to a message decides its outcome; what went over the wire is shown."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from typing import Self

import pytest
from smtp_peer import ServerAt

from relocation.delivery.smtp import Mailer

WIRE = b"Subject: x\r\n\r\nline\r\n.dot\r\n"
ANN = "ann@example.org"
SIZED = f"mail FROM:<noreply@relocation.example.org> size={len(WIRE)}"
TO_ANN = f"rcpt TO:<{ANN}>"
DROP, SILENCE = "drop", "silence"
POLITE = {
    "connect": "220 here",
    "ehlo": "250-here\r\n250 SIZE 1000000",
    "mail": "250 ok",
    "rcpt": "250 ok",
    "data": "354 go on",
    ".": "250 2.0.0 queued as T1",
    "rset": "250 ok",
    "quit": "221 bye",
}


class ScriptedServer:
    """A mail server that says what a script has for each command, and keeps what it heard."""

    def __init__(self, script: Mapping[str, str]) -> None:
        self._script = {**POLITE, **script}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard: list[str] = []
        self.next_connection: Mapping[str, str] = {}
        self._thread = threading.Thread(target=self._serve)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes the thread up
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                if self._over.is_set():
                    return
                self._script |= self.next_connection
                self._talk(connection, lines)

    def _talk(self, connection: socket.socket, lines: BufferedReader) -> None:
        answered = self._answer(connection, "connect")
        while answered and (line := lines.readline()):
            command = line.decode().rstrip("\r\n")
            verb = command.partition(" ")[0].lower()
            self.heard.append("ehlo" if verb == "ehlo" else command)
            answered = self._answer(connection, verb)
            if answered and verb == "data" and self._script["data"].startswith("354"):
                message = b"".join(iter(lines.readline, b".\r\n"))
                whole = message.replace(b"\r\n..", b"\r\n.") == WIRE
                self.heard.append("the message" if whole else f"changed: {message!r}")
                answered = self._answer(connection, ".")

    def _answer(self, connection: socket.socket, verb: str) -> bool:
        reply = self._script[verb]
        if reply == SILENCE:
            self._over.wait()
        if reply in (SILENCE, DROP):
            return False
        connection.sendall(reply.encode() + b"\r\n")
        return True


@pytest.fixture
def serve(
    server_at: ServerAt,
) -> Iterator[Callable[..., tuple[ScriptedServer, Mailer]]]:
    """Start a server with a script, and connect a mailer; it waits long only for an answer."""
    running: list[tuple[ScriptedServer, Mailer]] = []

    def start(**script: str) -> tuple[ScriptedServer, Mailer]:
        server = ScriptedServer({verb.replace("dot", "."): said for verb, said in script.items()})
        server.__enter__()
        patience = 1.5 if SILENCE in script.values() else 60.0
        running.append((server, Mailer(server_at(server.port, timeout=patience))))
        return running[-1]

    yield start
    for server, mailer in running:
        mailer.close()
        server.__exit__()


Serve = Callable[..., tuple[ScriptedServer, Mailer]]

BEFORE_MAIL = ["ehlo"]
UP_TO_MAIL = [*BEFORE_MAIL, SIZED]
UP_TO_RCPT = [*UP_TO_MAIL, TO_ANN]
UP_TO_DATA = [*UP_TO_RCPT, "data"]
ALL = [*UP_TO_DATA, "the message"]


@pytest.mark.parametrize(
    ("script", "state", "code", "goes_on", "wire"),
    [
        # It is taken.
        ({}, "sent", 250, True, ALL),
        ({"dot": "250-2.0.0 queued\r\n250 as T1"}, "sent", 250, True, ALL),
        # Greylisting, a full mailbox, a refused recipient: this message's own affair.
        ({"rcpt": "450 4.2.0 greylisted"}, "retry", 450, True, [*UP_TO_RCPT, "rset"]),
        ({"rcpt": "452 4.2.2 mailbox full"}, "retry", 452, True, [*UP_TO_RCPT, "rset"]),
        ({"rcpt": "550 5.1.1 no such user"}, "failed", 550, True, [*UP_TO_RCPT, "rset"]),
        ({"data": "451 4.3.0 not now"}, "retry", 451, True, [*UP_TO_DATA, "rset"]),
        ({"data": "554 5.5.1 no valid recipient"}, "failed", 554, True, [*UP_TO_DATA, "rset"]),
        ({"dot": "451 4.3.0 disk full"}, "retry", 451, True, [*ALL, "rset"]),
        ({"dot": "554 5.7.1 looks like spam"}, "failed", 554, True, [*ALL, "rset"]),
        # Too big, by the size we announce, or once it is there.
        ({"mail": "552 5.3.4 too big"}, "failed", 552, True, [*UP_TO_MAIL, "rset"]),
        ({"dot": "552 5.3.4 too big"}, "failed", 552, True, [*ALL, "rset"]),
        # The server does not want us: every message would be refused, so none is blamed.
        ({"connect": "421 4.3.2 closing"}, "retry", 421, False, []),
        ({"connect": "554 5.7.1 blocked"}, "retry", 554, False, []),
        ({"mail": "421 4.7.0 too many"}, "retry", 421, False, UP_TO_MAIL),
        ({"mail": "530 5.7.0 log in first"}, "retry", 530, False, UP_TO_MAIL),
        ({"mail": "553 5.7.1 not your address"}, "retry", 553, False, UP_TO_MAIL),
        ({"rcpt": "421 4.7.0 too many"}, "retry", 421, False, UP_TO_RCPT),
        ({"dot": "421 4.3.2 closing"}, "retry", 421, False, ALL),
        # The connection breaks, or nobody answers: before the message it is worth a retry ...
        ({"connect": DROP}, "retry", None, False, []),
        ({"connect": SILENCE}, "retry", None, False, []),
        ({"ehlo": SILENCE}, "retry", None, False, BEFORE_MAIL),
        ({"rcpt": DROP}, "retry", None, False, UP_TO_RCPT),
        ({"rcpt": SILENCE}, "retry", None, False, UP_TO_RCPT),
        # ... afterwards nobody knows; one copy went out, and no second one goes by itself.
        ({"data": DROP}, "unknown", None, False, UP_TO_DATA),
        ({"dot": DROP}, "unknown", None, False, ALL),
        ({"dot": SILENCE}, "unknown", None, False, ALL),
        # What it says is no SMTP.
        ({"dot": "what?"}, "unknown", -1, False, ALL),
        ({"dot": "354 more"}, "unknown", 354, False, ALL),
        ({"dot": "250 " + "x" * 9000}, "unknown", 500, False, ALL),
        ({"data": "250 ok"}, "unknown", 250, False, UP_TO_DATA),
    ],
)
def test_the_outcome_is_what_the_server_said_and_the_wire_shows_why(
    script: dict[str, str],
    state: str,
    code: int | None,
    goes_on: bool,
    wire: list[str],
    *,
    serve: Serve,
) -> None:
    server, mailer = serve(**script)
    result = mailer.send(ANN, WIRE)
    assert (result.state, result.code, result.connected) == (state, code, goes_on)
    assert result.detail
    assert server.heard == wire


def test_one_refused_recipient_costs_the_next_one_nothing(serve: Serve) -> None:
    """The next message goes over the same connection: there is no second greeting."""
    server, mailer = serve(rcpt="550 5.1.1 no such user")
    assert mailer.send(ANN, WIRE).state == "failed"
    server._script["rcpt"] = "250 ok"
    assert mailer.send("bob@example.org", WIRE).state == "sent"
    to_bob = "rcpt TO:<bob@example.org>"
    assert server.heard == [*UP_TO_RCPT, "rset", SIZED, to_bob, "data", "the message"]


@pytest.mark.parametrize("end", ["421 4.7.0 enough for one connection", DROP])
@pytest.mark.parametrize(("verb", "wire"), [("mail", [SIZED]), ("rcpt", [SIZED, TO_ANN])])
def test_a_connection_that_has_served_is_replaced_where_the_server_ends_it(
    end: str, verb: str, wire: list[str], *, serve: Serve
) -> None:
    """Many servers take a number of messages a connection, or close it when it is silent."""
    server, mailer = serve()
    assert mailer.send(ANN, WIRE).state == "sent"
    server._script[verb] = end
    server.next_connection = POLITE
    begun: list[bool] = []
    assert mailer.send(ANN, WIRE, before_data=lambda: begun.append(True)).state == "sent"
    assert begun == [True]
    assert server.heard == [*ALL, *wire, *ALL]


def test_a_connection_is_replaced_once_and_never_after_the_hand_over(serve: Serve) -> None:
    server, mailer = serve()
    assert mailer.send(ANN, WIRE).state == "sent"
    server._script["mail"] = DROP
    assert mailer.send(ANN, WIRE).state == "retry"
    assert server.heard == [*ALL, SIZED, *UP_TO_MAIL]
    server, mailer = serve()
    assert mailer.send(ANN, WIRE).state == "sent"
    server._script["."] = "421 4.3.2 closing"
    assert mailer.send(ANN, WIRE).state == "retry"
    assert server.heard == [*ALL, *ALL[1:]]


def test_no_size_is_announced_to_a_server_that_does_not_take_one(serve: Serve) -> None:
    server, mailer = serve(ehlo="250 here")
    assert mailer.send(ANN, WIRE).state == "sent"
    assert server.heard[1] == "mail FROM:<noreply@relocation.example.org>"


def test_leave_is_taken_at_the_end(serve: Serve) -> None:
    server, mailer = serve()
    mailer.send(ANN, WIRE)
    mailer.close()
    assert server.heard == [*ALL, "quit"]


def test_the_lease_outlasts_the_server_at_its_slowest(
    server_at: ServerAt,
) -> None:
    """Greeting, EHLO, STARTTLS, EHLO, login in three, MAIL, RCPT, DATA, message: 11 replies."""
    assert Mailer(server_at(25, timeout=20.0)).patience >= 11 * 20

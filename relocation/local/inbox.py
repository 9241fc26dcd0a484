"""A mail server on this machine that keeps what it gets as files, for the demo and the tests."""

import itertools
import os
import re
import socket
import tempfile
from asyncio import AbstractServer
from collections.abc import Awaitable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self, cast

from relocation.errors import CommandError
from relocation.local.inbox_page import InboxPages
from relocation.local.mails import kept_mails, parsed, part_of
from relocation.process import LOOPBACK

MAX_NAME = 60


@dataclass(frozen=True)
class ReceivedMail:
    """One mail, and the `.eml` file it lies in; its parts lie beside it as `.txt` and `.html`."""

    message: EmailMessage
    path: Path

    def part(self, subtype: str) -> str:
        """Return the text of the "plain" or the "html" part; empty where there is none."""
        return part_of(self.message, subtype)


class Inbox:
    """Receive mail on the loopback interface while a `with` block lasts.

    Each mail is numbered in its order of arrival, going on from what the folder holds; at `url` a
    browser shows them. Nobody but this user can read the files: a mail may hold the link that
    claims an account.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        """Where it listens; a free port is chosen in place of 0."""
        self.url = ""
        """Of its page, while it listens."""
        self._server: Any = None
        self._pages: InboxPages | None = None

    def __enter__(self) -> Self:
        """Start to listen; raises OSError where the port is taken, CommandError where it cannot."""
        serve = _server_class()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = socket.create_server((LOOPBACK, self.port))
        self.port = listener.getsockname()[1]
        self._server = serve(_Keeper(self.folder), listener)
        self._server.start()
        self._pages = InboxPages(self.folder)
        self.url = self._pages.url
        return self

    def __exit__(self, *_: object) -> None:
        pages, self._pages = self._pages, None
        if pages is not None:
            pages.stop()
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def messages(self) -> list[ReceivedMail]:
        """Return the mails in their order of arrival, of earlier runs too."""
        return [ReceivedMail(parsed(path.read_bytes()), path) for path in kept_mails(self.folder)]


def _server_class() -> Any:
    """Return the class of the mail server, whose library production does not install."""
    try:
        from aiosmtpd.controller import Controller  # noqa: PLC0415 - of the extra `local`
    except ModuleNotFoundError as err:
        raise CommandError(
            "The local inbox needs aiosmtpd. Install it with: pip install 'relocation[local]'"
        ) from err

    class Server(Controller):
        """Serve on a socket that listens already: only so can the system choose the port."""

        def __init__(self, handler: "_Keeper", listener: socket.socket) -> None:
            super().__init__(handler, hostname=LOOPBACK, port=listener.getsockname()[1])
            self._listener = listener

        def _create_server(self) -> Awaitable[AbstractServer]:
            return cast(
                Awaitable[AbstractServer],
                self.loop.create_server(self._factory_invoker, sock=self._listener),
            )

    return Server


class _Keeper:
    """Write each mail to the folder before the server says that it took it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kept = kept_mails(folder)
        last = int(kept[-1].name.partition("-")[0]) if kept else 0
        self._numbers = itertools.count(last + 1)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        number = next(self._numbers)
        raw = cast(bytes, envelope.original_content)
        message = parsed(raw)
        stem = f"{number:04d}-{_slug(str(message['Subject'] or 'mail'))}"
        for suffix, subtype in ((".txt", "plain"), (".html", "html")):
            if text := part_of(message, subtype):
                _write(self._folder / f"{stem}{suffix}", text.encode())
        path = self._folder / f"{stem}.eml"
        _write(path, raw)
        return f"250 2.0.0 kept as {number:04d}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_NAME].strip("-") or "mail"


def _write(path: Path, content: bytes) -> None:
    """Let the file appear whole, readable by this user alone."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".arriving-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)

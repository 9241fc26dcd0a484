"""A mail server on this machine that keeps what it gets as files, for the demo and the tests."""

import email
import email.policy
import html
import itertools
import os
import re
import socket
import tempfile
from asyncio import AbstractServer
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.controller import Controller

from relocation.process import LOOPBACK

PAGE = "index.html"
MAX_NAME = 60
LISTED = 200
"""Most mails of the page."""

_PAGE = """<!doctype html>
<meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Relocation inbox</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid #8884; }}
</style>
<h1>Relocation inbox</h1>
<p>{number} mails, the newest first.</p>
<table><tr><th>Arrived (UTC)<th>To<th>Subject<th>
{rows}
</table>
"""


@dataclass(frozen=True)
class ReceivedMail:
    """One mail, and the `.eml` file it lies in; its parts lie beside it as `.txt` and `.html`."""

    message: EmailMessage
    path: Path

    def part(self, subtype: str) -> str:
        """Return the text of the "plain" or the "html" part; empty where there is none."""
        return _part(self.message, subtype)


class Inbox:
    """Receive mail on the loopback interface while a `with` block lasts.

    Each mail is numbered in its order of arrival, going on from what the folder holds; `page` lists
    them for a browser. Nobody but this user can read the files: a mail may hold the link that
    claims an account.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        """Where it listens; a free port is chosen in place of 0."""
        self._server: _Server | None = None

    @property
    def page(self) -> Path:
        """The list of mails, newest first, for a browser."""
        return self.folder / PAGE

    def __enter__(self) -> Self:
        """Start to listen; raises OSError where the port is taken."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = socket.create_server((LOOPBACK, self.port))
        self.port = listener.getsockname()[1]
        self._server = _Server(_Keeper(self.folder), listener)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def messages(self) -> list[ReceivedMail]:
        """Return the mails in their order of arrival, of earlier runs too."""
        return [ReceivedMail(_parsed(path.read_bytes()), path) for path in _kept(self.folder)]


class _Server(Controller):
    """Serve on a socket that listens already: only so can the system choose the port."""

    def __init__(self, handler: "_Keeper", listener: socket.socket) -> None:
        super().__init__(handler, hostname=LOOPBACK, port=listener.getsockname()[1])
        self._listener = listener

    def _create_server(self) -> Awaitable[AbstractServer]:
        return cast(
            Awaitable[AbstractServer],
            self.loop.create_server(self._factory_invoker, sock=self._listener),
        )


class _Keeper:
    """Write each mail to the folder before the server says that it took it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kept = _kept(folder)
        last = int(kept[-1].name.partition("-")[0]) if kept else 0
        self._numbers = itertools.count(last + 1)
        newest = [_row(path, _parsed(path.read_bytes())) for path in kept[: -LISTED - 1 : -1]]
        self._rows = deque(newest, maxlen=LISTED)
        self._list()

    def _list(self) -> None:
        page = _PAGE.format(number=len(self._rows), rows="\n".join(self._rows))
        _write(self._folder / PAGE, page.encode())

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        number = next(self._numbers)
        raw = cast(bytes, envelope.original_content)
        message = _parsed(raw)
        stem = f"{number:04d}-{_slug(str(message['Subject'] or 'mail'))}"
        for suffix, subtype in ((".txt", "plain"), (".html", "html")):
            if text := _part(message, subtype):
                _write(self._folder / f"{stem}{suffix}", text.encode())
        path = self._folder / f"{stem}.eml"
        _write(path, raw)
        self._rows.appendleft(_row(path, message))
        self._list()
        return f"250 2.0.0 kept as {number:04d}"


def _kept(folder: Path) -> list[Path]:
    """Return the mails in order of number; names that are not ours are left alone."""
    found = [path for path in folder.glob("*.eml") if re.match(r"\d+-", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def _row(path: Path, mail: EmailMessage) -> str:
    """Return the line of the page that shows a kept mail."""
    shown = next(p for p in map(path.with_suffix, (".html", ".txt", ".eml")) if p.exists())
    to, subject = (html.escape(str(mail[name] or "-")) for name in ("To", "Subject"))
    at = f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M:%S}"
    return (
        f'<tr><td>{at}<td>{to}<td><a href="{shown.name}">{subject}</a>'
        f'<td><a href="{path.name}">source</a>'
    )


def _parsed(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.default)


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    return str(part.get_content()).replace("\r\n", "\n") if part else ""


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_NAME].strip("-") or "mail"


def _write(path: Path, content: bytes) -> None:
    """Let the file appear whole, readable by this user alone."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".arriving-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)

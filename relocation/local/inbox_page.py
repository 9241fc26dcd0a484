"""The inbox in a browser: all mails, newest first, to be searched; text and HTML side by side."""

import html
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from relocation.local.mails import kept_mails, parsed, part_of
from relocation.process import LOOPBACK
from relocation.text import counted

_ADDRESS = ".web"
"""Keeps the port and the secret of the page's address, so that a bookmark goes on working."""
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TYPES = {".html": "text/html", ".txt": "text/plain", ".eml": "text/plain"}
_CLOSED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  --line: #8883; --soft: #888; --accent: light-dark(#5a3fc0, #b3a1ff); }
* { box-sizing: border-box; }
body { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.3rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
form { display: flex; gap: .5rem; margin-bottom: 1rem; }
input, button { font: inherit; padding: .45rem .75rem; border: 1px solid var(--line);
  border-radius: .4rem; background: transparent; color: inherit; }
input { flex: 1; min-width: 0; }
.note, time, dt { color: var(--soft); font-size: .875rem; }
ul { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 9.5rem minmax(8rem, 15rem) 1fr auto; gap: 0 1rem;
  padding: .55rem 0; border-top: 1px solid var(--line); align-items: baseline; }
li > * { overflow-wrap: anywhere; } .id { font-family: ui-monospace, monospace; font-size: .8rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem 1rem; margin: 0 0 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.both { display: grid; grid-template-columns: 11fr 10fr; gap: 1rem; }
.both > * { border: 1px solid var(--line); border-radius: .4rem; width: 100%; height: 75vh;
  margin: 0; overflow: auto; }
pre { padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .75rem/1.5 ui-monospace, monospace; }
iframe { background: light-dark(#fff, #111); }
@media (max-width: 45rem) { .both { grid-template-columns: 1fr; } .both > * { height: 60vh; }
  li { grid-template-columns: 1fr auto; } li > .what { grid-column: 1 / -1; grid-row: 1; } }
"""


@dataclass(frozen=True)
class Line:
    """What the list says of a mail."""

    path: Path
    arrived: str
    to: str
    subject: str
    relocation: str
    searched: str

    @classmethod
    @lru_cache(maxsize=100_000)  # a mail never changes
    def of(cls, path: Path) -> "Line":
        """Read it from the file of a mail."""
        mail = parsed(path.read_bytes())
        to, subject = str(mail["To"] or "-"), str(mail["Subject"] or "(no subject)")
        text = part_of(mail, "plain")
        found = _UUID.search(text)
        arrived = f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M:%S}"
        relocation = found.group() if found else ""
        return cls(path, arrived, to, subject, relocation, f"{to} {subject} {text}".lower())


def list_page(folder: Path, words: str = "", relocation: str = "") -> str:
    """Return the page that lists the mails with all these words, of this relocation if any."""
    lines = [Line.of(path) for path in reversed(kept_mails(folder))]
    wanted = words.lower().split()
    found = [
        line
        for line in lines
        if relocation in ("", line.relocation) and all(word in line.searched for word in wanted)
    ]
    said = counted(len(found), "mail") + ("" if len(found) == len(lines) else f" of {len(lines)}")
    of = f' of relocation <span class="id">{html.escape(relocation)}</span>' if relocation else ""
    every = ' &middot; <a href="./">all mails</a>' if words or relocation else ""
    rows = "\n".join(map(_row, found))
    return _page(
        "Relocation inbox",
        '<form><input type="search" name="q" placeholder="Search in all mails" aria-label="Search" '
        f'value="{html.escape(words)}"><button>Search</button></form>'
        f'<p class="note">{said}{of}, the newest first.{every}</p><ul>{rows}</ul>',
        renews=not words,
    )


def mail_page(path: Path) -> str:
    """Return the page of one mail: its heads, its text and its HTML."""
    mail, line = parsed(path.read_bytes()), Line.of(path)
    heads = [
        ("To", line.to),
        ("From", str(mail["From"] or "-")),
        ("Arrived", f"{line.arrived} UTC"),
    ]
    facts = "".join(f"<dt>{name}<dd>{html.escape(value)}" for name, value in heads)
    if line.relocation:
        facts += f"<dt>Relocation<dd>{_of_relocation(line.relocation, line.relocation)}"
    for name in _attachments(mail):
        facts += f"<dt>Attached<dd>{html.escape(name)}"
    text = f"<pre>{html.escape(part_of(mail, 'plain'))}</pre>"
    drawn = f'<iframe sandbox title="HTML" src="{quote(path.stem)}.html"></iframe>'
    return _page(
        line.subject,
        f'<p class="note"><a href="./">All mails</a> &middot; '
        f'<a href="{quote(path.stem)}.eml">source</a></p><dl>{facts}</dl>'
        f'<div class="both">{text}{drawn if part_of(mail, "html") else ""}</div>',
    )


def _row(line: Line) -> str:
    short = _of_relocation(line.relocation, line.relocation[:8]) if line.relocation else ""
    return (
        f"<li><time>{line.arrived}</time><span>{html.escape(line.to)}</span>"
        f'<a class="what" href="{quote(line.path.stem)}">{html.escape(line.subject)}</a>'
        f"<span>{short}</span></li>"
    )


def _of_relocation(relocation: str, shown: str) -> str:
    return f'<a class="id" href="./?{urlencode({"relocation": relocation})}">{shown}</a>'


def _attachments(mail: EmailMessage) -> Iterable[str]:
    return (str(part.get_filename() or "a file") for part in mail.iter_attachments())


def _page(title: str, body: str, *, renews: bool = False) -> str:
    refresh = '<meta http-equiv="refresh" content="5">' if renews else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{refresh}<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{body}</html>"
    )


class InboxPages:
    """Serve the pages on the loopback interface while a `with` block lasts.

    Their address holds a secret: a mail may hold the link that claims an account, and other users
    of this machine reach the port too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port, secret = _last_address(folder)
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(folder, secret))
        except OSError:
            self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(folder, secret))
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/{secret}/"
        """Of the list."""
        file = folder / _ADDRESS
        file.touch(mode=0o600)
        file.write_text(f"{self._server.server_port} {secret}", encoding="ascii")
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _last_address(folder: Path) -> tuple[int, str]:
    with suppress(OSError, ValueError):
        port, secret = (folder / _ADDRESS).read_text(encoding="ascii").split()
        return int(port), secret
    return 0, secrets.token_urlsafe(16)


def _handler(folder: Path, secret: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            parts = urlsplit(self.path)
            given, _, name = parts.path.removeprefix("/").partition("/")
            if not secrets.compare_digest(given.encode(), secret.encode()):
                self.send_error(404)
                return
            kept = {path.stem: path for path in kept_mails(folder)}
            stem, dot, ending = name.partition(".")
            if not name:
                asked = parse_qs(parts.query)
                words, relocation = (asked.get(key, [""])[0] for key in ("q", "relocation"))
                self._answer(list_page(folder, words, relocation).encode())
            elif stem in kept and not dot:
                self._answer(mail_page(kept[stem]).encode())
            elif stem in kept and f".{ending}" in _TYPES:
                file = kept[stem].with_suffix(f".{ending}")
                self._answer(file.read_bytes() if file.exists() else b"", _TYPES[file.suffix])
            else:
                self.send_error(404)

        def _answer(self, body: bytes, kind: str = "text/html") -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header(
                "Content-Security-Policy", f"{_CLOSED}frame-src 'self'; form-action 'self'"
            )
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the address holds a secret."""

    return Handler

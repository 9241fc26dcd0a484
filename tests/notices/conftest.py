"""A real SMTP peer, a real ledger, and notices with their facts."""

import asyncio
import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from ledgers import sqlite_ledger
from sqlalchemy import Engine

from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.holds import open_relocation
from relocation.local.processes import free_port
from relocation.notices.building import Branding, build_notice
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates, load_templates
from relocation.request import RelocationRequest
from relocation.settings import Settings

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
SENDER = "noreply@relocation.example.org"
WHEN = "2026-03-19T14:05:00+00:00"
FACTS: dict[NoticeKind, dict[str, Any]] = {
    NoticeKind.STARTED: {
        "organizations": ["acme", "globex"],
        "owner": "olivia",
        "creator": "marcus",
        "expected": "a few minutes",
        "reviewed": False,
        "happened_at": WHEN,
    },
    NoticeKind.FAILED: {
        "organizations": ["acme", "globex"],
        "reason": "The export has no organization acme: check the slug.",
        "destination_state": "unchanged",
        "next_step": "Correct this, then request the relocation again.",
        "ours": False,
        "findings": [],
        "more_findings": 0,
        "happened_at": WHEN,
        "round": 1,
    },
    NoticeKind.SUCCEEDED: {
        "organizations": [
            {"name": "Acme", "slug": "acme", "old_slug": "acme", "renamed": ""},
            {"name": "Globex", "slug": "globex-x7", "old_slug": "globex", "renamed": "taken"},
        ],
        "counts": {"members": 1204, "projects": 1, "keys": 31},
        "not_moved": [{"what": "source code repositories", "count": 3}],
        "handover": "attached",
        "claims": 12,
        "claims_without_address": 0,
        "renamed_users": 0,
        "happened_at": WHEN,
    },
    NoticeKind.CANCELLED: {
        "organizations": ["acme", "globex"],
        "destination_state": "unchanged",
        "happened_at": WHEN,
    },
    NoticeKind.CLAIM: {
        "username": "jane",
        "organizations": ["Acme", "Globex"],
        "owner": "olivia",
        "claim_url": "https://cloud.example.org/account/recover/confirm/7/s3cr3t/",
        "valid_until": "2026-03-26T14:05:00+00:00",
        "old_host": "sentry.acme.example",
        "renewed": False,
    },
    NoticeKind.OPERATOR: {
        "matter": "stuck",
        "organizations": ["acme", "globex"],
        "status": "IN_PROGRESS",
        "step": "IMPORTING",
        "since": WHEN,
    },
}


@dataclass
class Peer:
    """An SMTP server that answers as it is told, and keeps what it took."""

    port: int
    rcpt_reply: dict[str, str] = field(default_factory=dict)
    data_reply: str = "250 2.0.0 queued as T1"
    drop_after_data: bool = False
    pipelining: bool = False
    """Whether it says that it takes commands in advance."""
    together: int = 1
    """Connections that have to be there before the first recipient is taken."""
    on_rcpt: Callable[[], None] = lambda: None
    on_data: Callable[[], None] = lambda: None
    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    # The names and the parameters are the library's.
    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], *["250-PIPELINING"] * self.pipelining, responses[-1]]

    async def handle_RCPT(  # noqa: N802
        self,
        server: Any,
        session: Any,
        envelope: Any,
        address: str,
        options: Any,
    ) -> str:
        self.connections.add(session.peer)
        while len(self.connections) < self.together:
            await asyncio.sleep(0.01)
        self.on_rcpt()
        if address in self.rcpt_reply:
            return self.rcpt_reply[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self,
        server: Any,
        session: Any,
        envelope: Any,
    ) -> str:
        self.on_data()
        if self.data_reply.startswith("250"):
            self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        if self.drop_after_data:
            server.transport.abort()
        return self.data_reply


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(free_port())
    controller = Controller(peer, hostname="127.0.0.1", port=peer.port)
    controller.start()
    yield peer
    controller.stop()


@pytest.fixture
def mailer(peer: Peer) -> Iterator[Mailer]:
    with Mailer(server_at(peer.port)) as mailer:
        yield mailer


def server_at(port: int, **changes: Any) -> MailServerSettings:
    plain = {"tls": "none", "user": None, "password": None, "sender": SENDER, "timeout": 3.0}
    return MailServerSettings(host="127.0.0.1", port=port, **(plain | changes))


@pytest.fixture(name="server_at")
def server_at_fixture() -> Callable[..., MailServerSettings]:
    return server_at


@pytest.fixture
def facts() -> dict[NoticeKind, dict[str, Any]]:
    """What the ledger keeps for a notice of each kind."""
    return copy.deepcopy(FACTS)


@pytest.fixture(scope="session")
def templates() -> Templates:
    return load_templates()


@pytest.fixture(scope="session")
def branding() -> Branding:
    return Branding.of(
        Settings(
            product_name="Sentinel Cloud",
            base_url="https://cloud.example.org",
            support_email="help@cloud.example.org",
            sender_email=SENDER,
        )
    )


@pytest.fixture(scope="session")
def build(templates: Templates, branding: Branding) -> Callable[..., EmailMessage]:
    """Build a notice of a kind; keywords change its facts, or how it is addressed."""
    addressing = {
        "recipient": "olivia@example.org",
        "message_id": "<abc@relocation.example.org>",
        "date": datetime(2026, 3, 19, 14, 6, tzinfo=UTC),
        "in_reply_to": None,
        "templates": templates,
        "branding": branding,
    }

    def make(kind: NoticeKind, **changes: Any) -> EmailMessage:
        asked = {name: changes.pop(name, value) for name, value in addressing.items()}
        context = {**FACTS[kind], "relocation_id": RELOCATION, **changes}
        return build_notice(kind, context=context, **asked)

    return make


@pytest.fixture(scope="session")
def text_of() -> Callable[[EmailMessage], str]:
    return lambda message: message.get_body(("plain",)).get_content()


@pytest.fixture(scope="session")
def html_of() -> Callable[[EmailMessage], str]:
    return lambda message: message.get_body(("html",)).get_content()


def _open(ledger: Engine) -> Engine:
    asked = RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")
    open_relocation(ledger, RELOCATION, asked, datetime(2026, 3, 19, 14, tzinfo=UTC))
    return ledger


@pytest.fixture(scope="session")
def opened_file(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Path:
    path = tmp_path_factory.mktemp("notices") / "ledger.db"
    shutil.copy(migrated_file, path)
    _open(sqlite_ledger(path)).dispose()
    return path


@pytest.fixture
def file_ledger(tmp_path: Path, opened_file: Path) -> Engine:
    shutil.copy(opened_file, tmp_path / "ledger.db")
    return sqlite_ledger(tmp_path / "ledger.db")


@pytest.fixture
def ledger(file_ledger: Engine) -> Engine:
    """A migrated ledger that holds one relocation."""
    return file_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def either_ledger(request: pytest.FixtureRequest) -> Engine:
    """A ledger that holds one relocation, on each database."""
    if request.param == "postgresql":
        return _open(request.getfixturevalue("postgres_ledger"))
    engine: Engine = request.getfixturevalue("file_ledger")
    return engine

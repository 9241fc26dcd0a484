"""A real SMTP peer, a real ledger, and notices with their facts."""

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Unpack

import mail_parts
import pytest
from aiosmtpd.controller import Controller
from ledgers import at, sqlite_ledger
from mail_parts import Build
from smtp_peer import Peer, ServerAt, ServerChanges
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


@pytest.fixture
def peer() -> Iterator[Peer]:
    """An SMTP server that takes every mail."""
    peer = Peer(free_port())
    controller = Controller(peer, hostname="127.0.0.1", port=peer.port)
    controller.start()
    yield peer
    controller.stop()


@pytest.fixture
def mailer(peer: Peer) -> Iterator[Mailer]:
    """A connection to it."""
    with Mailer(server_at(peer.port)) as mailer:
        yield mailer


def server_at(port: int, **changes: Unpack[ServerChanges]) -> MailServerSettings:
    plain = MailServerSettings("127.0.0.1", port, "none", None, None, SENDER, timeout=3.0)
    return replace(plain, **changes)


@pytest.fixture(name="server_at")
def server_at_fixture() -> ServerAt:
    """Makes the settings of a mail server on a port of this machine."""
    return server_at


@pytest.fixture
def facts() -> dict[NoticeKind, dict[str, Any]]:
    """What the ledger keeps for a notice of each kind."""
    return copy.deepcopy(FACTS)


@pytest.fixture(scope="session")
def templates() -> Templates:
    """The templates of the package."""
    return load_templates()


@pytest.fixture(scope="session")
def branding() -> Branding:
    """What the service calls itself."""
    return Branding.of(
        Settings(
            product_name="Sentinel Cloud",
            base_url="https://cloud.example.org",
            support_email="help@cloud.example.org",
            sender_email=SENDER,
        )
    )


@pytest.fixture(scope="session")
def build(templates: Templates, branding: Branding) -> Build:
    """Build a notice of a kind; keywords change its facts, or how it is addressed."""
    addressing: dict[str, Any] = {
        "recipient": "olivia@example.org",
        "message_id": "<abc@relocation.example.org>",
        "date": datetime(2026, 3, 19, 14, 6, tzinfo=UTC),
        "in_reply_to": None,
        "templates": templates,
        "branding": branding,
    }

    def make(kind: NoticeKind, **changes: object) -> EmailMessage:
        asked: dict[str, Any] = {
            name: changes.pop(name, value) for name, value in addressing.items()
        }
        context = {**FACTS[kind], "relocation_id": RELOCATION, **changes}
        return build_notice(kind, context=context, **asked)

    return make


@pytest.fixture(scope="session")
def text_of() -> Callable[[EmailMessage], str]:
    """Returns the part of a mail that is plain text."""
    return mail_parts.text_of


@pytest.fixture(scope="session")
def html_of() -> Callable[[EmailMessage], str]:
    """Returns the part of a mail that is HTML."""
    return mail_parts.html_of


def _open(ledger: Engine) -> Engine:
    asked = RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")
    open_relocation(ledger, RELOCATION, asked, at(datetime(2026, 3, 19, 14, tzinfo=UTC)))
    return ledger


@pytest.fixture(scope="session")
def opened_file(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Path:
    """A ledger in a SQLite file that holds one relocation, to be copied."""
    path = tmp_path_factory.mktemp("notices") / "ledger.db"
    shutil.copy(migrated_file, path)
    _open(sqlite_ledger(path)).dispose()
    return path


@pytest.fixture
def file_ledger(tmp_path: Path, opened_file: Path) -> Engine:
    """A ledger in a SQLite file that holds one relocation."""
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

"""A template that fails to render is an operator's matter, and no one else's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.relocations import get_relocation
from relocation.notices.building import Branding
from relocation.notices.delivery import deliver_due
from relocation.notices.kinds import Draft, NoticeKind
from relocation.notices.rendering import load_templates
from relocation.notices.transport import Mailer
from relocation.operator_notice import undeliverable_draft

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        ("failed/body.txt", "{{ nonsense }}", "nonsense"),  # it fails when it is rendered
        ("failed/body.html", "<!--{% if x %}-->", "failed"),  # and this one when it is loaded
        ("failed/subject.txt", "{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_broken_template_leaves_the_relocation_alone_and_can_be_told(
    name: str,
    source: str,
    why: str,
    *,
    tmp_path: Path,
    ledger: Engine,
    mailer: Mailer,
    peer: Any,
    branding: Branding,
    facts: dict[NoticeKind, dict[str, Any]],
) -> None:
    own = tmp_path / name
    own.parent.mkdir()
    own.write_text(source)
    before = get_relocation(ledger, RELOCATION)
    kinds = (NoticeKind.STARTED, NoticeKind.FAILED)
    with ledger.begin() as connection:
        drafts = [Draft(kind, "olivia@example.org", facts[kind]) for kind in kinds]
        enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)
    templates = load_templates(tmp_path)
    deliver_due(ledger, mailer, templates, branding, claimed_by="a:1", now=lambda: NOW)
    started, failed = notices_of(ledger, RELOCATION)
    assert (started.state, failed.state) == ("sent", "failed")
    assert len(peer.taken) == 1
    assert failed.wire is None
    assert why in (failed.reply or "")
    assert get_relocation(ledger, RELOCATION) == before

    told = undeliverable_draft(
        "operator@example.org",
        ["acme"],
        kind=failed.kind,
        recipient=failed.recipient,
        reply=failed.reply or "",
    )
    assert told is not None
    with ledger.begin() as connection:
        enqueue(connection, RELOCATION, 1, [told], sender_domain="example.org", now=NOW)
    deliver_due(ledger, mailer, templates, branding, claimed_by="a:1", now=lambda: NOW)
    assert b"A FAILED notice could not be delivered" in peer.taken[-1][2]

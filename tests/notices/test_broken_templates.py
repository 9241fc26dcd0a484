"""A template that fails to render is an operator's matter, and no one else's."""

import email
import email.policy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mail_parts import text_of
from smtp_peer import Peer
from sqlalchemy import Engine

from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import deliver_due
from relocation.delivery.smtp import Mailer
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.relocations import get_relocation
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True)
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        ("failed/body.txt", "{{ nonsense }}", "nonsense"),  # it fails when it is rendered
        ("failed/body.html", "<!--{% if x %}-->", "failed"),  # and this one when it is loaded
        ("failed/subject.txt", "{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_broken_template_leaves_the_relocation_alone_and_is_told_to_the_operator(
    name: str,
    source: str,
    why: str,
    *,
    tmp_path: Path,
    ledger: Engine,
    mailer: Mailer,
    peer: Peer,
    branding: Branding,
    facts: dict[NoticeKind, dict[str, Any]],
) -> None:
    own = tmp_path / name
    own.parent.mkdir()
    own.write_text(source)
    before = get_relocation(ledger, RELOCATION)
    kinds = (NoticeKind.STARTED, NoticeKind.FAILED)
    with ledger.begin() as connection:
        drafts = [NoticeDraft(kind, "olivia@example.org", facts[kind]) for kind in kinds]
        enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)
    delivery = DeliveryContext(ledger, mailer, load_templates(tmp_path), branding, POLICY)
    deliver_due(delivery, worker="a:1", now=lambda: NOW)
    started, failed, told = notices_of(ledger, RELOCATION)
    assert (started.state, failed.state, told.state) == ("sent", "queued", "sent")
    assert failed.wire is None
    assert why in (failed.reply or "")
    assert get_relocation(ledger, RELOCATION) == before

    assert [recipients for _, recipients, _ in peer.taken] == [
        ["olivia@example.org"],
        [POLICY.operator.email],
    ]
    mail = email.message_from_bytes(peer.taken[-1][2], policy=email.policy.default)
    assert mail["Subject"] == "FAILED email can't be built: acme"
    assert why in text_of(mail)

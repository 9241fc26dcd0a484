"""Spam filters, mail clients and parsers have nothing to say against any notice."""

import email
import email.policy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from mail_parts import Build
from smtp_peer import Peer

from relocation.delivery.smtp import Mailer
from relocation.notices.kinds import NoticeKind
from relocation.notices.wire import wire_bytes

HERE = Path(__file__).parent
MESSAGE_ID = "<6c0f5b8a0f3e4d1c9b7a5e3f1d2c4b6a@relocation.example.org>"
ACCEPTED = {
    "links: no-links": "an operator is told commands",
    "spam: missing-unsubscribe": "nobody subscribed: a notice is about the reader's own doing",
    "spam: missing-physical-address": "of advertising; who must have one adds it by template",
    "unsupported: <body> element": "some replace it; its colour is on the outer table as well",
    "unsupported: <style> element": "it only refines (dark mode, small screens); styles are inline",
    "unsupported: @media": "without it the mail is light and 600 px wide, and readable",
    "unsupported: border-radius": "Outlook for Windows shows square corners",
    "unsupported: display:none": "hides the preheader; where unsupported, so does its opacity",
    "unsupported: height property": "of the preheader, hidden in other ways as well",
    "unsupported: opacity": "of the preheader, hidden in other ways as well",
    "unsupported: overflow": "of the preheader, and of boxes whose words break anyway",
    "unsupported: overflow-wrap": "long words are broken by word-break as well",
    "unsupported: role attribute": "tells screen readers of layout tables; others ignore it",
    "unsupported: word-break": "long words are broken by overflow-wrap as well",
}
"""What the linters find in our notices, and why it stays."""


@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.skipif(not shutil.which("spamassassin"), reason="SpamAssassin is not installed")
def test_spamassassin_holds_nothing_against_a_notice(
    kind: NoticeKind, build: Build, tmp_path: Path
) -> None:
    """Its local tests, as its rules come with it: nothing asks the network."""
    wire = wire_bytes(build(kind, message_id=MESSAGE_ID))
    done = subprocess.run(
        ["spamassassin", "--local", "--test-mode"],
        input=wire,
        capture_output=True,
        env={**os.environ, "HOME": str(tmp_path)},
        check=True,
    )
    judged = email.message_from_bytes(done.stdout, policy=email.policy.default)
    score = re.search(r"score=(-?[\d.]+)", judged["X-Spam-Status"])
    assert score, judged["X-Spam-Status"]
    assert float(score[1]) <= 0.0, judged["X-Spam-Status"]


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
@pytest.mark.skipif(
    not (HERE / "node_modules").is_dir(), reason="run: make test-tools (the linters of mails)"
)
def test_mail_clients_show_what_a_notice_uses(
    build: Build, html_of: Callable[[EmailMessage], str], tmp_path: Path
) -> None:
    files = [tmp_path / f"{kind}.html" for kind in NoticeKind]
    for kind, file in zip(NoticeKind, files, strict=True):
        file.write_text(html_of(build(kind)), encoding="utf-8")
    done = subprocess.run(
        ["node", "lint.mjs", *files], cwd=HERE, capture_output=True, text=True, check=True
    )
    found = dict(zip(NoticeKind, json.loads(done.stdout), strict=True))
    assert any(found.values()), "the linters did not look"
    refused = {kind: sorted(set(here) - ACCEPTED.keys()) for kind, here in found.items()}
    assert refused == {kind: [] for kind in NoticeKind}


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_arrives_byte_for_byte_and_parses_without_a_defect(
    kind: NoticeKind, peer: Peer, mailer: Mailer, build: Build
) -> None:
    wire = wire_bytes(build(kind))
    assert mailer.send("olivia@example.org", wire).state == "sent"
    ((_, _, arrived),) = peer.taken
    assert arrived == wire
    message = email.message_from_bytes(arrived, policy=email.policy.strict)
    parts = [message, *message.iter_parts()]
    assert [part.get_content_type() for part in parts] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert not any(part.defects for part in parts)
    assert not any(value.defects for part in parts for value in part.values())

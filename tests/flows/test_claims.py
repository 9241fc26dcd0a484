"""A link to claim an account that died before it was mailed is replaced by one that works."""

import email.message
from typing import Any

import pytest
from sqlalchemy import text

from flows.sweep import sweep
from relocation.example import example_export
from relocation.ledger.outbox import notices_of
from relocation.local.processes import free_port
from relocation.notices.kinds import NoticeKind
from relocation.prefect_api.blocks import MailServer


def claim_mails(service: Any) -> dict[str, str]:
    """Return the text of each claim mail in the inbox, by recipient."""
    found = {}
    for mail in service.inbox.messages():
        message: email.message.EmailMessage = mail.message
        if "Claim" in str(message["Subject"]):
            body = message.get_body(("plain",))
            assert body is not None
            found[str(message["To"])] = body.get_content()
    return found


def test_a_link_that_died_in_the_outbox_is_replaced_by_one_that_works(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = MailServer.load(service.settings.mail_block, _sync=True)
    gone = MailServer(host="127.0.0.1", port=free_port(), tls="none")
    gone.save(service.settings.mail_block, overwrite=True, _sync=True)
    monkeypatch.setenv("RELOCATION_CLAIM_LINK_HOURS", "0.000001")
    assert service.relocate(service.archive(example_export(organizations=1)), "acme").is_completed()
    relocation = service.only()

    there.save(service.settings.mail_block, overwrite=True, _sync=True)
    monkeypatch.setenv("RELOCATION_CLAIM_LINK_HOURS", "1")
    sweep()
    mails = claim_mails(service)
    with service.destination.connect() as connection:
        query = (
            "SELECT email, hash FROM sentry_lostpasswordhash t JOIN auth_user u ON u.id = t.user_id"
        )
        tokens = dict(map(tuple, connection.execute(text(query))))
    assert mails.keys() == tokens.keys()
    assert mails
    for address, token in tokens.items():
        assert f"/{token}/" in mails[address]
    claims = [
        notice
        for notice in notices_of(service.ledger, relocation.id)
        if notice.kind is NoticeKind.CLAIM
    ]
    states = [str(claim.state) for claim in claims]
    assert sorted(set(states)) == ["replaced", "sent"]
    assert states.count("sent") == len(tokens)

"""A link to claim an account that died before it was mailed is replaced by one that works."""

import email.message

import pytest
from embedded_service import Service
from mail_parts import text_of
from prefect_blocks import load_block, save_block
from sqlalchemy import text

from flows.sweep import sweep
from relocation.example import example_export
from relocation.ledger.outbox import notices_of
from relocation.local.processes import free_port
from relocation.notices.kinds import NoticeKind
from relocation.prefect_api.blocks import MailServer


def claim_mails(service: Service) -> dict[str, str]:
    """Return the text of each claim mail in the inbox, by recipient."""
    found = {}
    for mail in service.inbox.messages():
        message: email.message.EmailMessage = mail.message
        if "Claim" in str(message["Subject"]):
            found[str(message["To"])] = text_of(message)
    return found


def test_a_link_that_died_in_the_outbox_is_replaced_by_one_that_works(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = load_block(MailServer, service.settings.mail_block)
    gone = MailServer(host="127.0.0.1", port=free_port(), tls="none")
    save_block(gone, service.settings.mail_block)
    monkeypatch.setenv("RELOCATION_CLAIM_LINK_HOURS", "0.000001")
    assert service.relocate(service.archive(example_export(organizations=1)), "acme").is_completed()
    relocation = service.only()

    save_block(there, service.settings.mail_block)
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

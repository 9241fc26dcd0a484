"""A signature holds at the receiver, and no key that cannot sign is taken."""

import email
import email.policy
from datetime import UTC, datetime, timedelta
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from mail_parts import Build
from pydantic import SecretStr
from smtp_peer import Peer
from sqlalchemy import Engine

from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import deliver_due
from relocation.delivery.smtp import Mailer
from relocation.errors import ConfigurationError
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.ledger.outbox import enqueue, notices_of
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import Templates
from relocation.notices.signing import SigningKey
from relocation.notices.wire import wire_bytes
from relocation.prefect_api.blocks import MailServer

DOMAIN = "relocation.example.org"
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = serialization.PrivateFormat


def _pem(key: PrivateKeyTypes, form: serialization.PrivateFormat = PRIVATE.PKCS8) -> str:
    plain = serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, form, plain).decode())


def _dns(name: bytes, timeout: float = 5) -> bytes | None:
    """Answer as the DNS of the domain would."""
    if name.rstrip(b".") != f"mail2026._domainkey.{DOMAIN}".encode():
        return None
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])


@pytest.mark.parametrize("form", [PRIVATE.PKCS8, PRIVATE.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", NoticeKind)
def test_a_signed_notice_verifies(
    kind: NoticeKind, form: serialization.PrivateFormat, build: Build
) -> None:
    wire = wire_bytes(build(kind))
    signed = SigningKey("mail2026", DOMAIN, _pem(KEY, form)).signed(wire)
    assert signed.endswith(wire)
    assert signed.isascii()
    assert b"\n" not in signed.replace(b"\r\n", b"")
    assert dkim.verify(signed, dnsfunc=_dns)
    assert not dkim.verify(signed.replace(b"Subject: ", b"Subject: Re: "), dnsfunc=_dns)


def test_what_the_server_gets_verifies_also_when_it_is_sent_again(
    *,
    ledger: Engine,
    peer: Peer,
    mailer: Mailer,
    templates: Templates,
    branding: Branding,
    facts: dict[NoticeKind, dict[str, Any]],
) -> None:
    """The signature holds a time: it is made once, and kept with the message."""
    draft = NoticeDraft(NoticeKind.STARTED, "olivia@example.org", facts[NoticeKind.STARTED])
    relocation_id = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
    with ledger.begin() as connection:
        enqueue(connection, relocation_id, 1, [draft], sender_domain=DOMAIN, now=NOW)
    policy = DeliveryPolicy(Operator("operator@example.org"), DOMAIN, resend_unknown=True)
    key = SigningKey("mail2026", DOMAIN, _pem(KEY))
    delivery = DeliveryContext(ledger, mailer, templates, branding, policy, key)
    peer.drop_after_data = True
    assert deliver_due(delivery, worker="a:1", now=lambda: NOW).unknown == 1
    peer.drop_after_data = False
    later = NOW + timedelta(hours=1)
    assert deliver_due(delivery, worker="b:2", now=lambda: later).sent == 1
    (_, _, first), (_, _, second) = peer.taken
    assert first == second == notices_of(ledger, relocation_id)[0].wire
    assert dkim.verify(second, dnsfunc=_dns)
    assert email.message_from_bytes(second, policy=email.policy.default)["DKIM-Signature"]


def test_mails_are_not_signed_unless_the_block_says_so() -> None:
    assert MailServer(host="127.0.0.1").signing_key(DOMAIN) is None


def test_the_block_signs_for_the_domain_of_the_sender() -> None:
    block = MailServer(host="x", dkim_selector="mail2026", dkim_private_key=SecretStr(_pem(KEY)))
    key = block.signing_key(DOMAIN)
    assert key is not None
    assert dkim.verify(key.signed(b"From: a@b\r\n\r\nhello\r\n"), dnsfunc=_dns)
    assert "PRIVATE" not in repr(block) + repr(key)


@pytest.mark.parametrize(
    ("selector", "domain", "pem"),
    [
        (None, DOMAIN, _pem(KEY)),
        ("mail2026", DOMAIN, None),
        ("mail2026", DOMAIN, "no key"),
        ("mail2026", DOMAIN, _pem(ec.generate_private_key(ec.SECP256R1()))),
        ("mail 2026", DOMAIN, _pem(KEY)),
        ("mail2026", "ex ample.org", _pem(KEY)),
    ],
)
def test_half_a_key_or_a_wrong_one_is_refused_before_anything_is_sent(
    selector: str | None, domain: str, pem: str | None
) -> None:
    secret = SecretStr(pem) if pem else None
    block = MailServer(host="x", dkim_selector=selector, dkim_private_key=secret)
    with pytest.raises(ConfigurationError) as refused:
        block.signing_key(domain)
    assert "DKIM" in refused.value.internal
    assert "BEGIN" not in refused.value.internal

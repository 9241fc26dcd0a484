"""Workers take turns at the mail server where an operator wants that."""

import sys
import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest
from embedded_service import Service
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect_blocks import save_block
from pydantic import SecretStr

from flows.notify import notify
from relocation.database import database_time
from relocation.errors import ConfigurationError
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import enqueue, notices_of
from relocation.notices.kinds import Channel, NoticeDraft, NoticeKind
from relocation.notices.samples import samples
from relocation.prefect_api.check import check
from relocation.prefect_api.doctor import probes
from relocation.request import RelocationRequest
from relocation.settings import Settings


def put(
    service: Service,
    kind: NoticeKind,
    recipient: str,
    *,
    age: float = 0,
    channel: Channel = Channel.MAIL,
) -> None:
    """Put a sample of a notice into the outbox, as if that had been some seconds ago."""
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    open_relocation(service.ledger, "r-1", request, database_time)
    sample = next(one for one in samples() if one.kind is kind)
    draft = NoticeDraft(kind, recipient, dict(sample.context), channel=channel)
    when = datetime.now(UTC) - timedelta(seconds=age)
    with service.ledger.begin() as connection:
        enqueue(connection, "r-1", 1, [draft], sender_domain="x.org", now=when)


@pytest.mark.parametrize(("age", "fails"), [(60, False), (3 * 3600, True)])
def test_notify_fails_where_mails_wait_for_a_fault_of_ours_for_too_long(
    service: Service, age: float, fails: bool
) -> None:
    """So that the automation on its failure tells the operator: no mail of ours could."""
    service.lose_mail_server()
    put(service, NoticeKind.STARTED, "olivia@example.org", age=age)
    assert notify(return_state=True).is_failed() is fails
    (waiting,) = notices_of(service.ledger, "r-1")
    assert waiting.state == "queued"


def test_an_operators_notice_goes_through_a_notification_block_though_no_mail_can(
    service: Service,
) -> None:
    inbox = f"mailto://127.0.0.1:{service.inbox.port}?from=a@example.org&to=ops@example.org"
    save_block(SlackWebhook(url=SecretStr(inbox)), "operators")
    service.lose_mail_server()
    put(service, NoticeKind.OPERATOR, "slack-webhook/operators", channel=Channel.BLOCK)
    for _ in range(2):
        notify()
    ((recipient, subject),) = service.mails()
    assert "ops@example.org" in recipient
    assert "Relocation stuck: acme" in subject
    (told,) = notices_of(service.ledger, "r-1")
    assert told.state == "sent"


def test_mail_waits_while_another_worker_holds_the_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_MAIL_LIMIT", "one-sender")
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="one-sender", limit=1)
        )
    put(service, NoticeKind.STARTED, "olivia@example.org")
    asked = threading.Event()

    def ask(
        name: str, *, strict: bool, raise_on_lease_renewal_failure: bool
    ) -> AbstractContextManager[None]:
        asked.set()
        return concurrency(
            name, strict=strict, raise_on_lease_renewal_failure=raise_on_lease_renewal_failure
        )

    monkeypatch.setattr(sys.modules["tasks.notices"], "concurrency", ask)
    worker = threading.Thread(target=notify)
    with concurrency("one-sender"):
        worker.start()
        assert asked.wait(600)
        assert service.mails() == []
    worker.join()
    assert len(service.mails()) == 1


def test_a_limit_that_nobody_created_holds_mails_back_and_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every worker would send at once, and only a line of a log would say so."""
    monkeypatch.setenv("RELOCATION_MAIL_LIMIT", "never-made")
    inbox = f"mailto://127.0.0.1:{service.inbox.port}?from=ops@example.org&to=ops@example.org"
    save_block(SlackWebhook(url=SecretStr(inbox)), "operators")
    put(service, NoticeKind.STARTED, "olivia@example.org")
    put(service, NoticeKind.OPERATOR, "slack-webhook/operators", channel=Channel.BLOCK)
    failed = notify(return_state=True)
    assert failed.is_failed()
    told = failed.result(raise_on_failure=False)
    assert isinstance(told, ConfigurationError)
    assert "prefect gcl create never-made --limit 1" in str(told.internal)
    ((recipient, _),) = service.mails()
    assert "ops@example.org" in recipient, "what goes through a block does not wait"
    (found,) = [check(*probe) for probe in probes(Settings()) if probe[0].startswith("mail limit")]
    assert not found.good
    assert found.remedy == "prefect gcl create never-made --limit 1"

"""Workers take turns at the mail server where an operator wants that."""

import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency

from flows.notify import notify
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import enqueue
from relocation.notices.kinds import Draft, NoticeKind
from relocation.notices.samples import samples
from relocation.request import RelocationRequest


def test_mail_waits_while_another_worker_holds_the_limit(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_MAIL_LIMIT", "one-sender")
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="one-sender", limit=1)
        )
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    open_relocation(service.ledger, "r-1", request)
    sample = next(one for one in samples() if one.kind is NoticeKind.STARTED)
    started = Draft(sample.kind, "olivia@example.org", sample.context)
    with service.ledger.begin() as connection:
        enqueue(connection, "r-1", 1, [started], sender_domain="x.org", now=datetime.now(UTC))
    asked = threading.Event()

    def ask(name: str) -> Any:
        asked.set()
        return concurrency(name)

    monkeypatch.setattr(sys.modules["tasks.deliver"], "concurrency", ask)
    worker = threading.Thread(target=notify)
    with concurrency("one-sender"):
        worker.start()
        assert asked.wait(600)
        assert service.mails() == []
    worker.join()
    assert len(service.mails()) == 1

"""A ledger of the last version, or from a backup, lets an interrupted relocation go on."""

import shutil
import sys
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from embedded_service import GoOn, Keep, Kept, Service
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from sqlalchemy import Engine, text

from flows.relocate import relocate
from relocation.example import example_export
from relocation.ledger.migrate import _config, is_current, migrate
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import get_relocation
from relocation.ledger.restoring import hold_back
from relocation.ledger.tables import NoticeState
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import Status, Task
from relocation.transfer.load.chunks import written_chunks

LAST_VERSION = "0011"
"""The newest migration of the last release."""


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def killed(keep: Keep) -> Kept:
    """A relocation whose process died with all records written and nothing recorded of it."""

    def die(*_: object) -> None:
        raise Killed

    def relocate_and_die(service: Service, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(sys.modules["tasks.import_organizations"], "show_accounts", die)
        patch.setattr(sys.modules["tasks.hook"], "reconcile", die)
        archive = service.archive(example_export(organizations=1))
        with pytest.raises(Killed):
            service.relocate(archive, "acme")

    return keep(relocate_and_die)


@pytest.fixture
def interrupted(killed: Kept, go_on: GoOn) -> Service:
    """A relocation whose process died with all records written and nothing recorded of it."""
    service = go_on(killed)
    stored = service.only()
    assert (stored.status, stored.task) == (Status.IN_PROGRESS, Task.IMPORT_ORGANIZATIONS)
    return service


def retry(relocation_id: str) -> Any:
    """Retry the run, as in the Prefect UI."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(relocation_id), AwaitingRetry(), force=True)
        run = client.read_flow_run(UUID(relocation_id))
    return run_flow(relocate, flow_run=run, return_type="state")


def leave_as_the_last_version_did(ledger: Engine, relocation_id: str) -> None:
    """Give the tables the form of the last version, and the notices the keys that they had then."""
    plain = {
        notice.id: NoticeDraft(notice.kind, notice.recipient, about=notice.about).key(
            relocation_id, notice.round
        )
        for notice in notices_of(ledger, relocation_id)
    }
    assert plain
    with ledger.begin() as connection:
        command.downgrade(_config(connection), LAST_VERSION)
        for id_, key in plain.items():
            statement = text("UPDATE notice SET dedupe_key = :key WHERE id = :id")
            connection.execute(statement, {"key": key, "id": id_})
    assert not is_current(ledger)


def test_a_relocation_interrupted_before_the_upgrade_goes_on_after_it(
    interrupted: Service,
) -> None:
    service, relocation_id = interrupted, interrupted.only().id
    told = service.mails()
    chunks = written_chunks(service.destination, relocation_id)
    assert told
    assert chunks
    leave_as_the_last_version_did(service.ledger, relocation_id)
    migrate(service.ledger)
    assert retry(relocation_id).is_completed()
    stored = service.only()
    assert (stored.status, stored.round) == (Status.SUCCESS, 1)
    after = Counter(service.mails())
    assert all(after[mail] == count for mail, count in Counter(told).items())
    notices = notices_of(service.ledger, relocation_id)
    assert {notice.state for notice in notices} == {NoticeState.SENT}
    kinds = {notice.kind for notice in notices}
    assert kinds == {NoticeKind.STARTED, NoticeKind.SUCCEEDED, NoticeKind.CLAIM}
    assert set(chunks) <= set(written_chunks(service.destination, relocation_id))
    assert service.count("sentry.organization") == 1


def test_a_ledger_from_a_back_up_goes_on_to_the_same_end_and_doubles_nothing(
    interrupted: Service,
) -> None:
    """The destination is ahead of it, and all mails went out after the backup."""
    service, relocation_id = interrupted, interrupted.only().id
    file = service.settings.home / "ledger.db"
    service.ledger.dispose()
    shutil.copy(file, file.with_suffix(".copy"))
    assert retry(relocation_id).is_completed()
    rows = {model: service.count(model) for model in ("sentry.organization", "sentry.user")}
    chunks, mails = written_chunks(service.destination, relocation_id), service.mails()
    service.ledger.dispose()
    for log in file.parent.glob("ledger.db-*"):
        log.unlink()
    shutil.copy(file.with_suffix(".copy"), file)
    assert get_relocation(service.ledger, relocation_id).status is Status.IN_PROGRESS
    assert hold_back(service.ledger).open_relocations == [relocation_id]
    assert retry(relocation_id).is_completed()
    assert get_relocation(service.ledger, relocation_id).status is Status.SUCCESS
    assert {model: service.count(model) for model in rows} == rows
    assert written_chunks(service.destination, relocation_id) == chunks
    assert service.mails() == mails
    told = notices_of(service.ledger, relocation_id)
    held = {notice.kind for notice in told if notice.state is NoticeState.UNKNOWN}
    assert held == {NoticeKind.SUCCEEDED, NoticeKind.CLAIM}

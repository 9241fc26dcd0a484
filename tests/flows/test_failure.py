"""What happens when something fails, and when it is rerun."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from embedded_service import GoOn, Keep, Kept, Service, run_again
from mail_parts import text_of
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from sqlalchemy import text

from flows.relocate import relocate
from relocation.database import database_time
from relocation.example import example_export
from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.tables import utc_now
from relocation.ledger.tries import begin_try, tries_of
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task


def tries(service: Service, task: Task) -> list[tuple[int, str | None]]:
    relocation_id = service.only().id
    return [
        (one.round, one.outcome)
        for one in tries_of(service.ledger, relocation_id)
        if one.task == task
    ]


def break_destination(service: Service) -> None:
    """Let every insert of a project fail, as a full disk would."""
    with service.destination.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE INSERT ON sentry_projectkey "
                # Only here: the scratch database of the trial import has no such user.
                "WHEN EXISTS (SELECT 1 FROM auth_user WHERE username = 'olivia') "
                "BEGIN SELECT RAISE(ABORT, 'disk full at /secret/path'); END"
            )
        )


def mend_destination(service: Service) -> None:
    with service.destination.begin() as connection:
        connection.execute(text("DROP TRIGGER broken"))


@contextmanager
def logging_to(log: io.StringIO) -> Iterator[None]:
    """Write what is logged into a text too: a fixture that several tests share has no caplog."""
    handler, level = logging.StreamHandler(log), logging.root.level
    # The test's own SMTP peer logs what it is told; it is no part of the service.
    handler.addFilter(lambda line: line.name != "mail.log")
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.root.setLevel(level)
        logging.root.removeHandler(handler)


@dataclass(frozen=True)
class Failure:
    """A relocation that failed in its import, after all tries."""

    kept: Kept
    log: str


@pytest.fixture(scope="module")
def failure(keep: Keep) -> Failure:
    """A relocation that failed in its import, after all tries."""
    log = io.StringIO()

    def fail(service: Service, _: pytest.MonkeyPatch) -> None:
        break_destination(service)
        with logging_to(log):
            service.relocate(service.archive(example_export(organizations=1)), "acme")

    kept = keep(fail)
    return Failure(kept, log.getvalue())


@pytest.fixture
def failed(failure: Failure, go_on: GoOn) -> Service:
    """A service whose relocation failed in its import; what caused it is still there."""
    return go_on(failure.kept)


@pytest.fixture
def archive(service: Service) -> str:
    """The example of one organization, in the storage."""
    return service.archive(example_export(organizations=1))


def test_no_wait_precedes_a_try_that_earlier_processes_have_used_up(service: Service) -> None:
    """Three tries of four are gone: the fourth is the last, and says what its owner can do."""
    request = RelocationRequest(archive="archives/gone.tar", organizations=["acme"], owner="olivia")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(relocate, parameters={"request": request.model_dump()})
        hold = hold_of(open_relocation(service.ledger, str(run.id), request, database_time))
        policy = POLICIES[Task.RECEIVE_ARCHIVE]
        for _ in range(policy.tries - 1):
            begin_try(service.ledger, hold, Task.RECEIVE_ARCHIVE, policy, "dead", now=utc_now())
        assert run_again(run).is_failed()
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = {one.name: one for one in client.read_task_runs(flow_run_filter=mine)}
    (received,) = [one for name, one in tasks.items() if name.startswith("receive_archive")]
    assert received.run_count == 1
    assert "no archive" in (service.only().reason or "")


def test_a_fault_is_tried_until_the_tries_are_used_up(failed: Service) -> None:
    """A-100."""
    assert tries(failed, Task.IMPORT_ORGANIZATIONS) == [(1, "FAILED")] * 5
    relocation = failed.only()
    assert relocation.status == Status.FAILURE
    assert relocation.failed_task == Task.IMPORT_ORGANIZATIONS
    assert (relocation.reason or "").startswith("The destination rejected some records")


def test_internals_are_in_the_ledger_and_in_no_mail(failed: Service) -> None:
    assert "disk full at /secret/path" in (failed.only().internal_error or "")
    # An operator is told what the log says; nobody else is.
    people = [mail for mail in failed.inbox.messages() if "operator@" not in mail.message["To"]]
    assert people
    for mail in people:
        assert b"secret" not in mail.path.read_bytes()
        assert b"sqlite" not in mail.path.read_bytes().lower()


def test_what_was_being_written_is_in_no_log_and_no_ledger(
    failure: Failure, failed: Service
) -> None:
    """Names, addresses, keys: the database's errors would quote them."""
    secrets = [
        record.fields["secret_key"]
        for record in example_export(organizations=1)
        if record.model == "sentry.projectkey"
    ]
    assert secrets
    told = f"{failure.log}\n{failed.only().internal_error}"
    assert "disk full" in failure.log
    assert not [secret for secret in secrets if secret in told]
    assert "olivia@example.org" not in told


def test_a_subflow_that_cannot_be_created_changes_no_outcome(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W-42."""
    import sys

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("the server answered 500")

    monkeypatch.setattr(sys.modules["flows.relocate"], "notify", refuse)
    assert service.relocate(archive, "acme").is_completed()
    assert service.only().status == Status.SUCCESS
    assert {n.state for n in notices_of(service.ledger, service.only().id)} == {"queued"}


def test_the_number_of_tries_is_a_setting(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_TASKS", '{"import_organizations": {"tries": 2}}')
    break_destination(service)
    service.relocate(archive, "acme")
    assert len(tries(service, Task.IMPORT_ORGANIZATIONS)) == 2


def test_what_cannot_succeed_is_tried_once(service: Service, archive: str) -> None:
    service.relocate(archive, "nowhere")
    assert tries(service, Task.SCAN_EXPORT) == [(1, "REFUSED")]


def test_what_was_imported_before_a_failure_is_not_visible(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_CHUNK_RECORDS", "1")  # a transaction for each record
    break_destination(service)
    service.relocate(archive, "acme")
    assert {row.status for row in service.rows("sentry.organization")} == {3}
    (mail,) = [
        m
        for m in service.inbox.messages()
        if "failed" in m.message["Subject"].lower() and "operator@" not in m.message["To"]
    ]
    assert "hidden" in text_of(mail.message).lower()


def test_a_rerun_goes_on_where_the_relocation_failed(failed: Service) -> None:
    """A-135."""
    service = failed
    mend_destination(service)
    relocation_id = service.only().id
    assert service.rerun(relocation_id).is_completed()
    relocation = service.only()
    assert (relocation.status, relocation.round) == (Status.SUCCESS, 2)
    assert tries(service, Task.SCAN_EXPORT) == [(1, "DONE")]
    assert tries(service, Task.IMPORT_ORGANIZATIONS) == [(1, "FAILED")] * 5 + [(2, "DONE")]
    kinds = sorted(n.kind for n in notices_of(service.ledger, relocation_id) if n.kind != "CLAIM")
    assert kinds == ["FAILED", "OPERATOR", "STARTED", "SUCCEEDED"]


def test_a_rerun_shows_what_it_skips(failed: Service) -> None:
    """A-96."""
    mend_destination(failed)
    failed.rerun(failed.only().id)
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(failed.only().id)]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=mine, limit=200)
    skipped = {run.name.rsplit("-", 1)[0] for run in runs if run.state_name == "Skipped"}
    assert {"receive_archive", "scan_export", "capture_baseline", "validate"} <= skipped
    assert "import_organizations" not in skipped


def test_a_second_failure_is_told_again_once(failed: Service) -> None:
    """A-99."""
    relocation_id = failed.only().id
    failed.rerun(relocation_id)
    told = [n for n in notices_of(failed.ledger, relocation_id) if n.kind == "FAILED"]
    assert [(notice.round, notice.state) for notice in told] == [(1, "sent"), (2, "sent")]


def test_a_mail_server_that_is_down_changes_no_outcome(service: Service, archive: str) -> None:
    """W-42."""
    service.lose_mail_server()
    assert service.relocate(archive, "acme").is_completed()
    relocation = service.only()
    assert relocation.status == Status.SUCCESS
    notices = notices_of(service.ledger, relocation.id)
    assert len(notices) > 2
    assert {notice.state for notice in notices} == {"queued"}


def test_an_owner_has_one_active_relocation(service: Service, archive: str) -> None:
    """B-9, A-127."""

    from relocation.ledger.relocations import get_relocation, list_relocations

    other = "00000000-0000-4000-8000-000000000001"
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    open_relocation(service.ledger, other, request, database_time)
    state = service.relocate(archive, "acme")
    assert state.is_failed()
    (refused,) = [one for one in list_relocations(service.ledger) if one.id != other]
    assert refused.status == Status.FAILURE
    assert other in (refused.reason or "")
    assert get_relocation(service.ledger, other).status == Status.IN_PROGRESS
    assert [n.kind for n in notices_of(service.ledger, refused.id)] == ["FAILED"]


def test_a_relocation_that_succeeded_is_not_run_again(relocated: Service) -> None:
    """A-95."""
    service = relocated
    before = service.only()
    mails = service.mails()
    assert service.rerun(before.id).is_failed()
    assert service.only().status == Status.SUCCESS
    assert service.mails() == mails
    assert service.count("sentry.organization") == 1


def test_a_fault_that_passes_is_told_to_nobody(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-100."""
    module = sys.modules["tasks.import_organizations"]
    import_records = module.import_records

    def mend_after_the_first_try(*arguments: object, **more: object) -> object:
        try:
            return import_records(*arguments, **more)
        finally:
            if not tries(service, Task.IMPORT_ORGANIZATIONS)[1:]:
                mend_destination(service)

    monkeypatch.setattr(module, "import_records", mend_after_the_first_try)
    break_destination(service)
    assert service.relocate(archive, "acme").is_completed()
    assert tries(service, Task.IMPORT_ORGANIZATIONS) == [(1, "FAILED"), (1, "DONE")]
    kinds = {n.kind for n in notices_of(service.ledger, service.only().id)}
    assert not kinds & {"FAILED", "OPERATOR"}

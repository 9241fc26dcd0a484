"""What a hook could not record is found and settled later, and nothing is lost."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from embedded_service import Service
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed, Running
from sqlalchemy import update

from flows.handle_failure import handle_failure
from flows.relocate import relocate
from flows.sweep import sweep
from relocation.archive.storage import FolderStorage
from relocation.database import database_time
from relocation.example import example_export
from relocation.ledger.history import history_of
from relocation.ledger.holds import open_relocation
from relocation.ledger.leases import leased_sweep
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import get_relocation, list_relocations
from relocation.ledger.tables import NoticeState, notices, sweep_lease
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import LifecycleEvent, Status
from relocation.transfer.load.chunks import written_chunks
from tasks.working_files import discard_old_files


@pytest.fixture
def ledger_file(service: Service, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the ledger, without which nobody waits for long."""
    monkeypatch.setenv("RELOCATION_SETTLE_PATIENCE", "0.5")
    return service.settings.home / "ledger.db"


def told(service: Service, relocation_id: str) -> list[str]:
    return [f"{n.kind} {n.state}" for n in notices_of(service.ledger, relocation_id)]


def lose_ledger_while_capturing(
    service: Service, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    import sys

    def gone(*_args: object, **_options: object) -> None:
        file.rename(file.with_suffix(".gone"))
        raise OSError("the disk is away")

    monkeypatch.setattr(sys.modules["tasks.capture"], "bind", gone)


def test_a_failure_that_could_not_be_recorded_is_settled_by_the_sweep(
    service: Service, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is away while the run fails, and while its hook runs."""
    archive = service.archive(example_export(organizations=1))
    monkeypatch.setenv("RELOCATION_LEASE_SECONDS", "0.2")
    lose_ledger_while_capturing(service, monkeypatch, ledger_file)
    assert service.relocate(archive, "acme").is_failed()
    ledger_file.with_suffix(".gone").rename(ledger_file)
    relocation = service.only()
    assert relocation.status is Status.IN_PROGRESS
    assert told(service, relocation.id) == ["STARTED sent"]
    sweep()
    assert get_relocation(service.ledger, relocation.id).status is Status.FAILURE
    assert told(service, relocation.id) == ["STARTED sent", "FAILED sent", "OPERATOR sent"]
    sweep()
    assert told(service, relocation.id) == ["STARTED sent", "FAILED sent", "OPERATOR sent"]


def test_a_run_that_failed_before_it_reached_the_ledger_is_settled_by_the_sweep(
    service: Service, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.session

    no_wait = tasks.session.begin_relocation.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(tasks.session, "begin_relocation", no_wait)
    ledger_file.rename(ledger_file.with_suffix(".gone"))
    state = service.relocate("archives/any.tar", "acme")
    ledger_file.with_suffix(".gone").rename(ledger_file)
    assert list_relocations(service.ledger) == []
    sweep()
    found = get_relocation(service.ledger, str(state.state_details.flow_run_id))
    assert (found.status, found.owner) == (Status.FAILURE, "olivia")
    assert told(service, found.id) == ["FAILED sent", "OPERATOR sent"]


def test_a_run_whose_hook_could_not_run_is_settled_by_handle_failure(service: Service) -> None:
    """A flow that cannot be imported, an unknown parameter: Crashed, and no hook."""
    request = {"archive": "archives/a.tar", "organizations": ["acme"], "owner": "olivia"}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            relocate, parameters={"request": request}, state=Crashed(message="no such module")
        )
    handle_failure(str(run.id))
    found = service.only()
    assert (found.id, found.status) == (str(run.id), Status.FAILURE)
    assert "no such module" in (found.internal_error or "")
    assert told(service, found.id) == ["FAILED sent", "OPERATOR sent"]
    handle_failure(str(run.id))
    assert told(service, found.id) == ["FAILED sent", "OPERATOR sent"]


def test_a_silent_run_without_a_deployment_fails_and_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could begin it again; the run itself would seem to run for ever."""
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            relocate, parameters={"request": request.model_dump()}, state=Running()
        )
    open_relocation(service.ledger, str(run.id), request, database_time, lease_seconds=0)
    sweep()
    assert get_relocation(service.ledger, str(run.id)).status is Status.FAILURE
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run.id).state_type is StateType.FAILED


def test_a_sweep_that_died_keeps_others_out_for_its_lease_alone(service: Service) -> None:
    """Whatever the server knows of its run: one that is restarted forgets who died."""
    dead = leased_sweep(
        service.ledger, worker="dead", lease_seconds=3600, clock=lambda: datetime.now(UTC)
    )
    dead.__enter__()
    kept_out = sweep(return_state=True)
    assert kept_out.is_cancelled()
    assert kept_out.message == "Another sweep is at work."
    with service.ledger.begin() as connection:
        connection.execute(update(sweep_lease).values(lease_until=datetime.now(UTC)))
    assert sweep(return_state=True).is_completed()


def test_a_sweep_of_which_a_part_fails_fails_when_the_rest_is_done(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the alert that the safety net does not work would never come."""
    import relocation.recovery.sweep

    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    relocation_id = str(uuid4())
    open_relocation(service.ledger, relocation_id, request, database_time, lease_seconds=0)

    def fail(*_: object) -> None:
        raise OSError("the destination is away")

    monkeypatch.setattr(relocation.recovery.sweep, "reconcile", fail)
    state = sweep(return_state=True)
    assert state.is_failed()
    assert told(service, relocation_id) == ["OPERATOR sent"]
    monkeypatch.undo()
    assert sweep(return_state=True).is_completed()


def test_a_sweep_that_finds_nothing_changes_nothing(relocated: Service) -> None:
    before = relocated.only()
    sweep()
    assert get_relocation(relocated.ledger, before.id) == before
    states = {notice.state for notice in notices_of(relocated.ledger, before.id)}
    assert states == {NoticeState.SENT}


def test_old_working_files_are_removed_and_a_rerun_begins_with_the_archive(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    def fail(*_args: object) -> None:
        raise OSError("the disk is full")

    bind = sys.modules["tasks.capture"].bind
    monkeypatch.setattr(sys.modules["tasks.capture"], "bind", fail)
    archive = service.archive(example_export(organizations=1))
    service.relocate(archive, "acme")
    failed = service.only().id
    folder = service.settings.home / "storage" / "relocations" / failed
    assert list(folder.rglob("*.*"))
    monkeypatch.setenv("RELOCATION_RETENTION", "0.001")
    sweep()
    assert not [file for file in folder.rglob("*") if file.is_file()]
    monkeypatch.setattr(sys.modules["tasks.capture"], "bind", bind)
    assert service.rerun(failed).is_completed()
    assert get_relocation(service.ledger, failed).status is Status.SUCCESS


def test_scratch_databases_that_a_killed_trial_left_are_removed(service: Service) -> None:
    """Of relocations that ended; those of another service on the same destination are its own."""
    from relocation.transfer.dry_run.scratch import scratch_file

    service.relocate("archives/missing.tar", "acme")
    others = "00000000-0000-4000-8000-000000000009"
    folder = service.settings.home / "scratch"
    folder.mkdir(exist_ok=True)
    left, foreign = (scratch_file(one, folder) for one in (service.only().id, others))
    left.touch()
    foreign.touch()
    sweep()
    assert not left.exists()
    assert foreign.exists()


class StorageAwayError(Exception):
    """The storage is away."""


def fail_once_imported(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a relocation fail after it has written its working files; return its id."""
    import sys

    def fail(*_args: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["tasks.capture"], "bind", fail)
        service.relocate(service.archive(example_export(organizations=1)), "acme")
    return str(service.only().id)


def working_files(service: Service) -> list[Path]:
    folder = service.settings.home / "storage" / "relocations"
    return [file for file in folder.rglob("*") if file.is_file()]


def test_working_files_that_could_not_be_removed_go_with_a_later_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold the export, and with it hashes of passwords: nothing of it may stay."""
    failed = fail_once_imported(service, monkeypatch)
    assert working_files(service)
    monkeypatch.setenv("RELOCATION_RETENTION", "0.001")

    def away(*_args: object) -> None:
        raise StorageAwayError

    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "delete", away)
        with pytest.raises(ExceptionGroup):
            discard_old_files(Settings(), service.ledger)
    assert working_files(service)
    assert LifecycleEvent.FILES_DISCARDED not in {
        one.what for one in history_of(service.ledger, failed)
    }
    sweep()
    assert working_files(service) == []
    sweep()
    told = [one.what for one in history_of(service.ledger, failed)]
    assert told.count(LifecycleEvent.FILES_DISCARDED) == 1


def test_working_files_of_a_success_that_could_not_be_removed_go_with_a_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.working_files

    def away(*_args: object) -> None:
        raise StorageAwayError

    with monkeypatch.context() as patch:
        patch.setattr(tasks.working_files, "delete_normalised", away)
        at_once = tasks.working_files.discard_working_files.with_options(retry_delay_seconds=0)
        patch.setattr(sys.modules["flows.relocate"], "discard_working_files", at_once)
        service.relocate(service.archive(example_export(organizations=1)), "acme")
    assert service.only().status is Status.SUCCESS
    assert working_files(service)
    sweep()
    assert working_files(service) == []


def test_a_sweep_forgets_people_and_chunk_records_as_long_after_as_is_set(
    relocated: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = relocated
    sent = len(service.mails())
    chunks = written_chunks(service.destination, service.only().id)
    sweep()
    assert (service.only().owner, service.only().forgotten_at) == ("olivia", None)
    # The claims that were mailed work for an hour; what is given up is as good for this.
    with service.ledger.begin() as connection:
        connection.execute(update(notices).values(valid_until=None))
    monkeypatch.setenv("RELOCATION_LEDGER_RETENTION", "0.001")
    sweep()
    forgotten = service.only()
    assert (forgotten.owner, forgotten.owner_email, forgotten.status) == ("", None, Status.SUCCESS)
    assert written_chunks(service.destination, forgotten.id) == chunks
    monkeypatch.setenv("RELOCATION_CHUNK_RETENTION", "0.001")
    for _ in range(2):
        sweep()
    assert written_chunks(service.destination, forgotten.id) == []
    assert service.only().chunks_removed_at is not None
    assert service.count("sentry.organization") == 1
    assert len(service.mails()) == sent


def test_a_rerun_while_old_working_files_are_removed_keeps_its_own(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new round writes its files while those of the old one go."""
    failed = fail_once_imported(service, monkeypatch)
    monkeypatch.setenv("RELOCATION_RETENTION", "0.001")
    working = sys.modules["tasks.working_files"]
    delete = working.delete_normalised
    states: list[State[None]] = []

    def retry_first(*arguments: object) -> None:
        if not states:
            states.append(retry_until_baseline())
        delete(*arguments)

    def retry_until_baseline() -> State[None]:
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["tasks.capture"], "bind", away)
            return service.rerun(failed)

    def away(*_args: object) -> None:
        raise OSError("still full")

    with monkeypatch.context() as patch:
        patch.setattr(working, "delete_normalised", retry_first)
        discard_old_files(Settings(), service.ledger)
    assert states[0].is_failed()
    assert get_relocation(service.ledger, failed).round == 2
    assert service.rerun(failed).is_completed()
    assert get_relocation(service.ledger, failed).status is Status.SUCCESS
    sweep()
    assert working_files(service) == []

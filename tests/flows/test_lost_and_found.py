"""What a hook could not record is found and settled later, and nothing is lost."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running
from sqlalchemy import update

from flows.handle_failure import handle_failure
from flows.relocate import relocate
from flows.sweep import sweep
from relocation.example import example_export
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import get_relocation, list_relocations
from relocation.ledger.sweeping import leased_sweep
from relocation.ledger.tables import NoticeState, sweep_lease
from relocation.request import RelocationRequest
from relocation.steps import Status


@pytest.fixture
def ledger_file(service: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELOCATION_SETTLE_PATIENCE", "0.5")
    return service.settings.home / "ledger.db"


def told(service: Any, relocation_id: str) -> list[str]:
    return [f"{n.kind} {n.state}" for n in notices_of(service.ledger, relocation_id)]


def lose_ledger_while_capturing(service: Any, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    import sys

    def gone(*_args: object, **_options: object) -> None:
        file.rename(file.with_suffix(".gone"))
        raise OSError("the disk is away")

    monkeypatch.setattr(sys.modules["tasks.capture"], "bind", gone)


def test_a_failure_that_could_not_be_recorded_is_settled_by_the_sweep(
    service: Any, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
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
    assert told(service, relocation.id) == ["STARTED sent", "FAILED sent"]
    sweep()
    assert told(service, relocation.id) == ["STARTED sent", "FAILED sent"]


def test_a_run_that_failed_before_it_reached_the_ledger_is_settled_by_the_sweep(
    service: Any, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.holding

    no_wait = tasks.holding.begin_relocation.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(tasks.holding, "begin_relocation", no_wait)
    ledger_file.rename(ledger_file.with_suffix(".gone"))
    state = service.relocate("archives/any.tar", "acme")
    ledger_file.with_suffix(".gone").rename(ledger_file)
    assert list_relocations(service.ledger) == []
    sweep()
    found = get_relocation(service.ledger, str(state.state_details.flow_run_id))
    assert (found.status, found.owner) == (Status.FAILURE, "olivia")
    assert told(service, found.id) == ["FAILED sent"]


def test_a_run_whose_hook_could_not_run_is_settled_by_handle_failure(service: Any) -> None:
    """A flow that cannot be imported, an unknown parameter: Crashed, and no hook."""
    request = {"archive": "archives/a.tar", "organizations": ["acme"], "owner": "olivia"}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            relocate, parameters={"request": request}, state=Crashed(message="no such module")
        )
    handle_failure(str(run.id))
    found = service.only()
    assert (found.id, found.status) == (str(run.id), Status.FAILURE)
    assert "no such module" in found.internal_error
    assert told(service, found.id) == ["FAILED sent"]
    handle_failure(str(run.id))
    assert told(service, found.id) == ["FAILED sent"]


def test_a_silent_run_without_a_deployment_fails_and_is_told(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could begin it again; the run itself would seem to run for ever."""
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            relocate, parameters={"request": request.model_dump()}, state=Running()
        )
    open_relocation(service.ledger, str(run.id), request, lease_seconds=0)
    sweep()
    assert get_relocation(service.ledger, str(run.id)).status is Status.FAILURE
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(str(run.id))).state.is_failed()


def test_a_sweep_that_died_keeps_others_out_for_its_lease_alone(service: Any) -> None:
    """Whatever the server knows of its run: one that is restarted forgets who died."""
    dead = leased_sweep(service.ledger, worker="dead", lease_seconds=3600)
    dead.__enter__()
    kept_out = sweep(return_state=True)
    assert kept_out.is_cancelled()
    assert kept_out.message == "Another sweep is at work."
    with service.ledger.begin() as connection:
        connection.execute(update(sweep_lease).values(lease_until=datetime.now(UTC)))
    assert sweep(return_state=True).is_completed()


def test_a_sweep_that_finds_nothing_changes_nothing(service: Any) -> None:
    archive = service.archive(example_export(organizations=1))
    service.relocate(archive, "acme")
    before = service.only()
    sweep()
    assert get_relocation(service.ledger, before.id) == before
    states = {notice.state for notice in notices_of(service.ledger, before.id)}
    assert states == {NoticeState.SENT}


def test_old_working_files_are_removed_and_a_rerun_begins_with_the_archive(
    service: Any, monkeypatch: pytest.MonkeyPatch
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
    from prefect.flow_engine import run_flow
    from prefect.states import AwaitingRetry

    relocation_id = UUID(failed)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(relocation_id, AwaitingRetry(), force=True)
        run = client.read_flow_run(relocation_id)
    assert run_flow(relocate, flow_run=run, return_type="state").is_completed()
    assert get_relocation(service.ledger, failed).status is Status.SUCCESS


def test_scratch_databases_that_a_killed_trial_left_are_removed(service: Any) -> None:
    from relocation.transfer.dry_run.scratch import scratch_file

    left = scratch_file("00000000-0000-4000-8000-000000000009", service.settings.home / "scratch")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    sweep()
    assert not left.exists()

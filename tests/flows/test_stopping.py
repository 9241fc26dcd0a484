"""A relocation that is asked to stop does so before its next task, and in the right way."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from embedded_service import Service
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort
from prefect.states import Cancelled, Cancelling, Failed, Suspended

from flows.handle_failure import handle_failure
from flows.sweep import sweep
from relocation.database import database_time
from relocation.example import example_export
from relocation.findings import Finding
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import notices_of
from relocation.ledger.tables import utc_now
from relocation.ledger.transitions import schedule_cancel, schedule_pause
from relocation.ledger.tries import tries_of
from relocation.steps import Status, Step, Task

IMPORT = Task.IMPORT_ORGANIZATIONS
Meanwhile = Callable[[Callable[[str], object]], None]


@pytest.fixture
def archive(service: Service) -> str:
    """The example of one organization, in the storage."""
    return service.archive(example_export(organizations=1))


@pytest.fixture
def meanwhile(service: Service, monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Let something happen elsewhere while the colliding users are captured."""
    capture = sys.modules["tasks.capture"]
    export = capture.export_records

    def arrange(happens: Callable[[str], object]) -> None:
        def export_records(*args: object, **options: object) -> object:
            if "usernames" in options:
                happens(service.only().id)
            return export(*args, **options)

        monkeypatch.setattr(capture, "export_records", export_records)

    return arrange


def run_state(service: Service) -> str:
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(UUID(service.only().id)).state_name)


def set_state(state: State[Any]) -> Callable[[str], None]:
    def happens(relocation_id: str) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(relocation_id), state, force=True)

    return happens


def last_task(service: Service) -> Task:
    return tries_of(service.ledger, service.only().id)[-1].task


def told(service: Service) -> list[str]:
    notices = notices_of(service.ledger, service.only().id)
    return [f"{notice.kind} {notice.state}" for notice in notices]


def test_it_is_cancelled_before_the_step_that_was_named(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    """A-132, W-43: and its people are told."""
    meanwhile(lambda id_: schedule_cancel(service.ledger, id_, Step.IMPORTING, utc_now()))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    assert service.only().status is Status.CANCELLED
    assert last_task(service) is Task.VALIDATE
    assert run_state(service) == "Cancelled"
    assert told(service) == ["STARTED sent", "CANCELLED sent"]
    assert service.rows("sentry.organization") == []


def test_it_pauses_before_the_step_that_was_named(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    """A-98, W-1: the reference could not pause before validating."""
    meanwhile(lambda id_: schedule_pause(service.ledger, id_, Step.VALIDATING, utc_now()))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    paused = service.only()
    assert (paused.status, paused.step) == (Status.PAUSED, Step.VALIDATING)
    assert (paused.pause_before_step, paused.lease_until) == (None, None)
    assert last_task(service) is Task.CAPTURE_COLLIDING_USERS
    assert told(service) == ["STARTED sent"]


def test_a_cancellation_at_the_server_ends_it(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    meanwhile(set_state(Cancelled()))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    assert service.only().status is Status.CANCELLED
    assert run_state(service) == "Cancelled"


def test_a_suspension_at_the_server_pauses_it(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    """Measured: a running flow otherwise ignores it, and stays Suspended for ever."""
    meanwhile(set_state(Suspended(timeout_seconds=3600)))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    assert service.only().status is Status.PAUSED
    assert run_state(service) == "Suspended"


def test_a_failure_set_by_hand_ends_it(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    """Measured: the process would go on, and report Completed in the end."""
    meanwhile(set_state(Failed(message="enough")))
    assert service.relocate(archive, "acme").is_failed()
    stored = service.only()
    assert stored.status is Status.FAILURE
    assert "operator" in (stored.reason or "")
    assert told(service) == ["STARTED sent", "FAILED sent"]


def test_a_process_that_was_taken_over_stops_and_reports_nothing(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    """DESIGN 6.6: two engines on one run."""

    def another_takes_over(relocation_id: str) -> None:
        open_relocation(service.ledger, relocation_id, service.only().request, database_time)

    meanwhile(another_takes_over)
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    stored = service.only()
    assert (stored.status, stored.fence) == (Status.IN_PROGRESS, 2)
    assert stored.lease_until is not None
    assert run_state(service) == "Running"
    assert told(service) == ["STARTED sent"]


def test_what_a_cancelled_relocation_imported_is_removed(
    service: Service, archive: str, meanwhile: Meanwhile
) -> None:
    meanwhile(lambda id_: schedule_cancel(service.ledger, id_, Step.POSTPROCESSING, utc_now()))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    assert last_task(service) is Task.VERIFY_IMPORT
    assert service.only().status is Status.CANCELLED
    assert service.rows("sentry.organization") == []
    assert service.rows("sentry.project") == []


def test_a_cancelled_relocation_ends_also_where_people_added_to_what_it_imported(
    service: Service, archive: str, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs stays theirs; the operator reads in the ledger that nothing was rolled back."""

    def add_a_team(*_: object) -> list[Finding]:
        """Somebody works in it while it is hidden, and after it was verified."""
        (organization,) = service.rows("sentry.organization")
        team = service.table("sentry.team")
        now = datetime.now(UTC)
        row = {"organization_id": organization.id, "slug": "theirs", "name": "Theirs", "status": 0}
        with service.destination.begin() as connection:
            connection.execute(team.insert().values(**row, date_added=now))
        return []

    monkeypatch.setattr(sys.modules["tasks.compare"], "verify", add_a_team)
    meanwhile(lambda id_: schedule_cancel(service.ledger, id_, Step.POSTPROCESSING, utc_now()))
    with pytest.raises(Abort):
        service.relocate(archive, "acme")
    stored = service.only()
    assert stored.status is Status.CANCELLED
    assert "not rolled back" in (stored.internal_error or "")
    assert "theirs" in {row.slug for row in service.rows("sentry.team")}
    assert told(service) == ["STARTED sent", "CANCELLED sent"]


def test_a_task_that_takes_too_long_has_failed_and_is_no_interruption(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import time

    monkeypatch.setenv("RELOCATION_TASKS", '{"capture_baseline": {"tries": 1, "time_limit": 0.3}}')
    monkeypatch.setattr(sys.modules["tasks.capture"], "bind", lambda *_: time.sleep(5))
    service.relocate(archive, "acme")
    tried = tries_of(service.ledger, service.only().id)[-1]
    assert (tried.task, tried.outcome) == (Task.CAPTURE_BASELINE, "FAILED")
    assert service.only().status is Status.FAILURE


@pytest.mark.parametrize("state", [Cancelled(), Cancelling()], ids=["cancelled", "cancelling"])
def test_a_cancellation_that_comes_when_all_is_visible_is_not_obeyed(
    service: Service, archive: str, monkeypatch: pytest.MonkeyPatch, state: State[Any]
) -> None:
    """Its users have work to do there, and their claims to get."""
    reveal = sys.modules["tasks.hand_over"].reveal

    def then_cancel(*arguments: object) -> object:
        asked = reveal(*arguments)
        set_state(state)(service.only().id)
        return asked

    monkeypatch.setattr(sys.modules["tasks.hand_over"], "reveal", then_cancel)
    with suppress(Abort):  # the server refuses the state Completed after this one
        service.relocate(archive, "acme")
    assert service.only().status is Status.SUCCESS
    assert [row.status for row in service.rows("sentry.organization")] == [0]
    kinds = {one.partition(" ")[0] for one in told(service)}
    assert {"SUCCEEDED", "CLAIM"} <= kinds
    assert "CANCELLED" not in kinds
    monkeypatch.setenv("RELOCATION_START_LIMIT", "0.001")
    handle_failure(service.only().id)
    assert run_state(service) == "Completed"


def test_a_cancellation_that_fails_in_its_roll_back_imports_nothing_again(
    service: Service, archive: str, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = sys.modules["relocation.prefect_api.context"]
    meanwhile(lambda id_: schedule_cancel(service.ledger, id_, Step.POSTPROCESSING, utc_now()))
    undo = context.roll_back
    times: list[int] = []

    def fail_once(*arguments: object, begin: Callable[[], None], **options: object) -> object:
        times.append(len(service.rows("sentry.organization")))
        if len(times) == 1:
            begin()
            raise OSError("the connection is cut")
        return undo(*arguments, begin=begin, **options)

    monkeypatch.setattr(context, "roll_back", fail_once)
    service.relocate(archive, "acme")
    if service.only().status is not Status.CANCELLED:
        sweep()
    assert service.only().status is Status.CANCELLED
    assert times == [1, 1]
    assert service.rows("sentry.organization") == []
    imports = [one for one in tries_of(service.ledger, service.only().id) if one.task is IMPORT]
    assert len(imports) == 1
    assert told(service) == ["STARTED sent", "CANCELLED sent"]

"""The story of the demo ends as it says, whoever is faster, and says at once where it does not."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
from embedded_service import Service, run_again
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry
from sqlalchemy import text

from flows.relocate import relocate
from relocation.errors import CommandError
from relocation.local.console import Console
from relocation.local.demo import scenario
from relocation.local.demo.run import OWNERS
from relocation.local.demo.scenario import ROOM, Ending, Expected, Scenario
from relocation.local.processes import Server
from relocation.local.stack import Stack
from relocation.prefect_api.flow_runs import RELOCATE
from relocation.request import RelocationRequest
from relocation.steps import Status
from relocation.transfer.load.accounts import add_users

CHUNKS = text("SELECT count(*) FROM relocation_import_chunk WHERE relocation_id = :id")


def _never_begun(_request: RelocationRequest, *, deployment: str) -> str:
    assert deployment == RELOCATE
    return "00000000-0000-4000-8000-000000000001"


def _chunks(service: Service, relocation_id: str) -> int:
    with service.destination.connect() as connection:
        return int(connection.execute(CHUNKS, {"id": relocation_id}).scalar_one())


@pytest.fixture
def stack(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The machine of the demo, with a process that runs; relocations run in this one, at once."""
    monkeypatch.setenv("RELOCATION_CHUNK_RECORDS", "200")
    add_users(service.destination, OWNERS)

    def submit(request: RelocationRequest, *, deployment: str) -> str:
        assert deployment == RELOCATE
        state = relocate(request, return_state=True)
        return str(state.state_details.flow_run_id)

    def rerun(relocation_id: str) -> None:
        assert 0 < _chunks(service, relocation_id) <= ROOM
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(relocation_id), AwaitingRetry(), force=True)
            run = client.read_flow_run(UUID(relocation_id))
        run_again(run)

    monkeypatch.setattr(scenario, "submit", submit)
    monkeypatch.setattr(scenario, "rerun", rerun)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as running:
        yield Stack(
            service.settings.home,
            service.settings,
            Server("", running),
            running,
            service.inbox,
            {},
            service.ledger,
            service.destination,
        )


def test_it_fails_three_times_and_goes_on_after_the_chunks_there_was_room_for(
    stack: Stack, service: Service
) -> None:
    endings = Scenario(stack, Console()).play()
    assert [(one.relocation.status, one.relocation.round, one.good) for one in endings] == [
        ("SUCCESS", 1, True),
        ("FAILURE", 1, True),
        ("FAILURE", 1, True),
        ("FAILURE", 1, True),
        ("SUCCESS", 2, True),
    ]
    assert _chunks(service, endings[-1].relocation.id) > ROOM


def test_an_ending_other_than_the_expected_one_is_said_at_once_and_is_the_last(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELOCATION_MAX_ORGANIZATIONS", "1")
    endings = Scenario(stack, Console()).play()
    assert [one.good for one in endings] == [False]
    assert "It was to end with SUCCESS in round 1" in capsys.readouterr().out


def test_an_ending_is_good_with_the_expected_status_reason_and_round(service: Service) -> None:
    service.relocate("archives/none.tar", "acme")
    failed = service.only()
    assert Ending("", failed, Expected(Status.FAILURE, "no archive")).good
    others = (
        Expected(Status.SUCCESS),
        Expected(Status.FAILURE, "another key"),
        Expected(Status.FAILURE, "no archive", round=2),
    )
    assert not any(Ending("", failed, other).good for other in others)


def test_a_worker_that_has_ended_is_said_and_nobody_waits_for_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(stack.worker, subprocess.Popen)
    stack.worker.communicate()
    monkeypatch.setattr(scenario, "submit", _never_begun)
    with pytest.raises(CommandError, match="ended unexpectedly"):
        Scenario(stack, Console()).play()


def test_a_relocation_that_does_not_move_is_given_up_in_words(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(scenario, "submit", _never_begun)
    with pytest.raises(CommandError, match="not begun"):
        Scenario(stack, Console()).play()

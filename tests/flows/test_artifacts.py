"""What an operator sees of a relocation in the Prefect UI."""

import json
import sys
from typing import Any
from uuid import UUID

import httpx
import pytest
from embedded_service import Service
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from relocation.cli.control import rollback
from relocation.example import example_export
from relocation.ledger.history import history_of
from relocation.prefect_api.artifacts import show_next_steps
from relocation.steps import Status


def artifacts(service: Service) -> dict[str, Any]:
    which = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(service.only().id)]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=which, limit=100)
    assert len({one.key for one in found}) == len(found), "one of each, whatever was tried again"
    return {str(one.key).removeprefix("relocation-"): one.data for one in found}


def test_a_success_shows_request_progress_and_accounts(relocated: Service) -> None:
    shown = artifacts(relocated)
    assert "`acme`" in shown["what-was-asked"]
    assert shown["progress"] == 100
    accounts = {row["model"]: row for row in json.loads(shown["accounts"])}
    assert accounts["sentry.organization"]["inserted"] == 1
    counts = ("inserted", "merged", "overwritten", "skipped", "dropped")
    assert all(row["read"] == sum(row[one] for one in counts) for row in accounts.values())
    total = accounts.pop("all")
    assert total["read"] == sum(row["read"] for row in accounts.values())
    assert shown["what-to-do-next"].startswith("# SUCCESS")
    assert "`acme`" in shown["what-to-do-next"]


def test_a_failure_shows_why_and_what_to_do_next(service: Service) -> None:
    service.relocate(service.archive(example_export(organizations=1)), "nowhere")
    text = artifacts(service)["what-to-do-next"]
    assert service.only().reason in text
    assert "Correct the slugs" in text
    assert "**Retry**" in text
    assert f"relocation show {service.only().id}\n" in text
    assert "Nothing was changed in the destination." in text
    assert "rollback" not in text


def test_all_relocations_share_one_line_with_its_history(service: Service) -> None:
    """In the list of artifacts of the Prefect UI, which has a line for each key."""
    runs = [
        str(service.relocate("archives/none.tar", "acme").state_details.flow_run_id)
        for _ in range(2)
    ]
    with get_client(sync_client=True) as client:
        which = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(map(UUID, runs))))
        found = client.read_artifacts(artifact_filter=which, limit=100)
    of_each = [{one.key for one in found if str(one.flow_run_id) == run} for run in runs]
    assert of_each[0] == of_each[1] >= {"relocation-what-was-asked", "relocation-what-to-do-next"}


def test_an_artifact_of_an_older_version_is_renewed_under_its_own_key(service: Service) -> None:
    service.relocate("archives/none.tar", "acme")
    relocation_id = service.only().id
    former = f"what-to-do-next-{relocation_id}"
    which = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(relocation_id)]))
    with get_client(sync_client=True) as client:
        for one in client.read_artifacts(artifact_filter=which):
            client.delete_artifact(one.id)
        run = UUID(relocation_id)
        client.create_artifact(
            ArtifactCreate(key=former, type="markdown", data="old", flow_run_id=run)
        )
        show_next_steps(service.ledger, relocation_id)
        (one,) = client.read_artifacts(artifact_filter=which)
    assert one.key == former
    assert str(one.data).startswith("# FAILURE")


def test_two_installations_have_a_line_each(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.relocate("archives/none.tar", "acme")
    before = set(artifacts(service))
    for name in ("LEDGER", "ALERT", "DESTINATION"):
        field = f"{name.lower()}_block"
        monkeypatch.setenv(f"RELOCATION_{name}_BLOCK", getattr(service.settings, field))
    monkeypatch.setenv("RELOCATION_INSTALLATION", "east")
    show_next_steps(service.ledger, service.only().id)
    assert set(artifacts(service)) - before == {"what-to-do-next-east"}


def test_no_artifact_names_a_person(relocated: Service) -> None:
    shown = json.dumps(artifacts(relocated))
    assert "@" not in shown
    assert "olivia" not in shown


def test_a_server_that_takes_no_artifacts_fails_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relocation.prefect_api import artifacts

    def refuse(**_: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(artifacts, "get_client", refuse)
    service.relocate(service.archive(example_export(organizations=1)), "acme")
    assert service.only().status is Status.SUCCESS


def test_a_run_is_found_by_its_id_and_slugs_and_says_nothing_of_people(relocated: Service) -> None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(relocated.only().id))
    assert run.name == f"acme {relocated.only().id}"
    assert "organization:acme" in run.tags
    assert "olivia" not in run.name + str(run.tags)


def test_a_roll_back_by_command_renews_what_to_do_next(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the destination is away")

    monkeypatch.setattr(sys.modules["tasks.hand_over"], "grant", fail)
    service.relocate(service.archive(example_export(organizations=1)), "acme")
    assert "nobody can see it" in artifacts(service)["what-to-do-next"]
    rollback(service.only().id, yes=True)
    assert service.rows("sentry.organization") == []
    page = artifacts(service)["what-to-do-next"]
    assert "was removed from the destination" in page
    assert "rollback" not in page


def test_a_roll_back_by_command_of_what_imported_nothing_asks_and_does_nothing(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """It never came to know its destination: to check that it is the same would mislead."""
    service.relocate("archives/missing.tar", "acme")
    before = history_of(service.ledger, service.only().id)
    rollback(service.only().id)
    assert "Nothing was imported" in capsys.readouterr().out
    assert history_of(service.ledger, service.only().id) == before

"""What an operator sees of a relocation in the Prefect UI."""

import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from relocation.example import example_export
from relocation.steps import Status


def artifacts(service: Any) -> dict[str, Any]:
    which = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(service.only().id)]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=which, limit=100)
    return {one.key.split("-")[1]: one.data for one in found if one.key}


def test_a_success_shows_request_progress_and_accounts(service: Any) -> None:
    service.relocate(service.archive(example_export(organizations=1)), "acme")
    shown = artifacts(service)
    assert "`acme`" in shown["request"]
    assert shown["progress"] == 100
    accounts = {row["model"]: row for row in json.loads(shown["accounts"])}
    assert accounts["sentry.organization"]["inserted"] == 1
    counts = ("inserted", "merged", "overwritten", "skipped", "dropped")
    assert all(row["read"] == sum(row[one] for one in counts) for row in accounts.values())
    assert "settlement" not in shown


def test_a_failure_shows_why_and_what_to_do_next(service: Any) -> None:
    service.relocate(service.archive(example_export(organizations=1)), "nowhere")
    text = artifacts(service)["settlement"]
    assert service.only().reason in text
    assert "**Retry**" in text


def test_no_artifact_shows_an_address(service: Any) -> None:
    service.relocate(service.archive(example_export(organizations=1)), "acme")
    assert "@" not in json.dumps(artifacts(service))


def test_a_server_that_takes_no_artifacts_fails_nothing(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.artifacts

    def refuse(**_: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(tasks.artifacts, "get_client", refuse)
    service.relocate(service.archive(example_export(organizations=1)), "acme")
    assert service.only().status is Status.SUCCESS

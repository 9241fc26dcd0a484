"""Setting up again: what a person changed stays, what our files say is applied, no secret leaks."""

import json
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
from service_operator import Operator

DISABLED = "A relocation does not start"


def _ask(operator: Operator, path: str, **body: object) -> Any:
    answer = operator.api("POST", path, body)
    return answer.json() if answer.content else None


def _automations(operator: Operator) -> dict[str, Any]:
    found = _ask(operator, "automations/filter")
    names = [one["name"] for one in found]
    assert len(names) == len(set(names))
    return {one["name"]: one for one in found}


def _deployment(operator: Operator, name: str) -> Any:
    (one,) = [one for one in _ask(operator, "deployments/filter") if one["name"] == name]
    return one


@pytest.fixture(scope="module")
def scheduled(operator: Operator) -> "CompletedProcess[str]":
    """Add two schedules and change one, as a person does in the UI, and set up again."""
    added = [{"schedule": {"cron": "0 2 * * *"}, "active": False}]
    for name in ("relocate", "sweep"):
        path = f"deployments/{_deployment(operator, name)['id']}/schedules"
        operator.api("POST", path, added)
    sweep = _deployment(operator, "sweep")
    (own,) = [one for one in sweep["schedules"] if one["slug"]]
    path = f"deployments/{sweep['id']}/schedules/{own['id']}"
    operator.api("PATCH", path, {"schedule": {"interval": 900}})
    return operator.run("setup")


def test_schedules_that_a_person_added_stay(
    operator: Operator, scheduled: "CompletedProcess[str]"
) -> None:
    timings = {
        name: [one["schedule"].get("cron") for one in _deployment(operator, name)["schedules"]]
        for name in ("relocate", "sweep")
    }
    assert timings["relocate"] == ["0 2 * * *"]
    assert sorted(map(str, timings["sweep"])) == ["0 2 * * *", "None"]


def test_a_schedule_of_the_file_is_restored_and_that_is_said(
    operator: Operator, scheduled: "CompletedProcess[str]"
) -> None:
    assert 'The schedule "every-five-minutes" of sweep' in scheduled.stderr
    sweep = _deployment(operator, "sweep")
    assert 300 in [one["schedule"].get("interval") for one in sweep["schedules"]]
    assert 900 not in [one["schedule"].get("interval") for one in sweep["schedules"]]


@pytest.fixture(scope="module")
def again(operator: Operator) -> Iterator[dict[str, str]]:
    """Disable an automation as a person does, and set up again."""
    one = _automations(operator)[DISABLED]
    path = f"automations/{one['id']}"
    operator.api("PATCH", path, {"enabled": False})
    yield operator.json("setup")
    operator.api("PATCH", path, {"enabled": True})


def test_applied_twice_there_is_one_of_each_automation(
    operator: Operator, again: dict[str, str]
) -> None:
    assert len(_automations(operator)) == 5


def test_an_automation_that_a_person_disabled_stays_disabled(
    operator: Operator, again: dict[str, str]
) -> None:
    enabled = {name: one["enabled"] for name, one in _automations(operator).items()}
    assert [name for name, on in enabled.items() if not on] == [DISABLED]


def test_the_work_pool_and_the_blocks_are_kept(again: dict[str, str]) -> None:
    assert set(again.values()) == {"kept", "kept (process)"}


def test_what_is_overdue_is_begun_before_relocations_that_wait(
    operator: Operator, again: dict[str, str]
) -> None:
    priorities = {one["name"]: one["priority"] for one in _ask(operator, "work_queues/filter")}
    assert priorities == {"safety-net": 1, "default": 2}
    stored = {one["name"]: one["work_queue_name"] for one in _ask(operator, "deployments/filter")}
    first = {name for name, queue in stored.items() if queue == "safety-net"}
    assert first == {"notify", "handle-failure", "sweep"}


def test_no_secret_and_no_block_is_in_what_a_deployment_stores(operator: Operator) -> None:
    stored = _ask(operator, "deployments/filter")
    assert {one["name"] for one in stored} == {
        "relocate",
        "validate",
        "notify",
        "handle-failure",
        "sweep",
    }
    for one in stored:
        kept = json.dumps([one["parameters"], one["job_variables"], one["pull_steps"]])
        assert "sqlite" not in kept
        assert "PRIVATE KEY" not in kept
        assert "block" not in kept
        assert (one["parameters"], one["job_variables"]) == ({}, {})


def test_the_form_of_relocate_is_titled_described_and_exemplified(operator: Operator) -> None:
    relocate = _deployment(operator, "relocate")
    form = relocate["parameter_openapi_schema"]["definitions"]["RelocationRequest"]["properties"]
    assert form["owner"]["title"] == "Owner"
    assert all(field["description"] and field["examples"] for field in form.values())
    assert relocate["concurrency_options"]["collision_strategy"] == "ENQUEUE"

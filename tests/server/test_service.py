"""The command line and the deployments, against a real server and a real worker."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text


def test_setup_makes_everything_and_prints_no_secret(operator: Any) -> None:
    assert operator.setup_output.count("created") == 7
    assert "kept" not in operator.setup_output
    assert "PRIVATE KEY" not in operator.setup_output


def test_the_server_schedules_runs(operator: Any) -> None:
    """A newer SQLAlchemy or FastAPI stops this, the first of them silently."""
    prefect = [Path(sys.executable).parent / "prefect", "deployment", "schedule", "create"]
    subprocess.run(
        [*prefect, "notify/notify", "--interval", "86400"],
        env=operator.environment,
        check=True,
        capture_output=True,
    )

    def scheduled() -> Any:
        runs = httpx.post(
            f"{operator.environment['PREFECT_API_URL']}/flow_runs/filter",
            json={"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}},
        ).json()
        return [run for run in runs if run["auto_scheduled"]]

    assert operator.until(scheduled)


def test_a_file_is_submitted_relocated_and_told(operator: Any) -> None:
    archive = str(operator.archive("good.tar"))
    submitted = operator.json("submit", archive, "-o", "acme", "--owner", "olivia")
    shown = operator.ended(submitted["id"])
    assert (shown["status"], shown["step"]) == ("SUCCESS", "COMPLETED")
    assert [one["outcome"] for one in shown["tries"]] == ["DONE"] * 10
    told = {(notice["kind"], notice["recipient"]) for notice in shown["notices"]}
    assert {("STARTED", "olivia@example.org"), ("SUCCEEDED", "olivia@example.org")} <= told
    assert {notice["state"] for notice in shown["notices"]} == {"sent"}
    visible = text("SELECT slug FROM sentry_organization WHERE status = 0")
    with operator.destination.connect() as connection:
        assert any(slug.startswith("acme") for (slug,) in connection.execute(visible))

    story = operator.run("show", submitted["id"]).stdout
    assert "import_organizations" in story
    assert "SUCCESS" in story
    assert submitted["id"] in operator.run("list", "--status", "SUCCESS").stdout
    assert operator.json("list", "--status", "FAILURE", submitted["id"]) == []
    assert "account/recover" not in json.dumps(shown) + story, "a claim's link is a secret"


def test_a_relocation_that_fails_shows_its_reason(operator: Any) -> None:
    archive = str(operator.archive("other.tar"))
    submitted = operator.json("submit", archive, "-o", "nowhere", "--owner", "marcus")
    shown = operator.ended(submitted["id"])
    assert shown["status"] == "FAILURE"
    assert "nowhere" in shown["reason"]
    story = operator.run("show", submitted["id"], "--follow", code=1).stdout
    assert "Reason: " + shown["reason"] in story


def test_a_request_that_cannot_work_is_refused_before_anything_is_uploaded(operator: Any) -> None:
    archive = operator.archive("refused.tar")
    refused = operator.run("submit", str(archive), "-o", "$$##", "--owner", "olivia", code=1)
    assert "$$##" in refused.stderr
    assert not list((operator.home / "data" / "storage").rglob("*refused.tar"))


def test_a_relocation_is_submitted_for_later(operator: Any) -> None:
    archive = str(operator.archive("later.tar"))
    asked = ("submit", archive, "-o", "acme", "--owner", "olivia", "--at")
    at = f"{operator.now() + timedelta(days=2):%Y-%m-%d}T22:00"
    submitted = operator.json(*asked, at, "--time-zone", "Asia/Tokyo")
    url = f"{operator.environment['PREFECT_API_URL']}/flow_runs/{submitted['id']}"
    run = httpx.get(url).json()
    assert run["state"]["type"] == "SCHEDULED"
    assert run["expected_start_time"].startswith(at.replace("T22:00", "T13:00"))
    assert httpx.delete(url).status_code == 204
    refused = operator.run(*asked, "2020-01-01T22:00", code=1)
    assert "past" in refused.stderr


def test_doctor_finds_nothing_to_mend(operator: Any) -> None:
    def healthy() -> Any:
        # A worker counts as online once it has sent its first heartbeat.
        checks = operator.json("doctor")
        return checks if all(check["good"] for check in checks) else None

    assert len(operator.until(healthy)) == 17


def test_doctor_says_how_to_mend_a_server_that_is_away(operator: Any) -> None:
    environment = {**operator.environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    away = type(operator)(operator.home, environment, operator.inbox, "")
    said = away.run("doctor", code=1).stdout
    assert "127.0.0.1:9" in said
    assert "PREFECT_API_URL" in said


def test_an_unknown_relocation_is_an_error_of_one_line(operator: Any) -> None:
    said = operator.run("show", "nothing", code=1)
    assert said.stderr.strip() == "error: there is no relocation nothing"
    assert said.stdout == ""

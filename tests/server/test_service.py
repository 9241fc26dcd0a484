"""The command line and the deployments, against a real server and a real worker."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from service_operator import Operator
from sqlalchemy import text


def test_setup_makes_everything_and_prints_no_secret(operator: Operator) -> None:
    assert operator.setup_output.count("created") == 7
    assert "kept" not in operator.setup_output
    assert "PRIVATE KEY" not in operator.setup_output
    assert re.search(r"^user olivia +added$", operator.setup_output, flags=re.MULTILINE)


def test_the_server_schedules_runs(operator: Operator) -> None:
    """A newer SQLAlchemy or FastAPI stops this, the first of them silently."""
    notify = operator.api("GET", "deployments/name/notify/notify").json()
    daily = [{"schedule": {"interval": 86400}, "active": True}]
    operator.api("POST", f"deployments/{notify['id']}/schedules", daily)

    def scheduled() -> list[dict[str, Any]]:
        waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        runs = operator.api("POST", "flow_runs/filter", waiting).json()
        return [run for run in runs if run["auto_scheduled"]]

    assert operator.until(scheduled)


def test_a_file_is_submitted_relocated_and_told(operator: Operator) -> None:
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


def test_a_relocation_that_fails_shows_its_reason(operator: Operator) -> None:
    archive = str(operator.archive("other.tar"))
    asked = ("-o", "nowhere", "--owner", "marcus", "--no-check")
    submitted = operator.json("submit", archive, *asked)
    shown = operator.ended(submitted["id"])
    assert shown["status"] == "FAILURE"
    assert "nowhere" in shown["reason"]
    story = operator.run("show", submitted["id"][:13], "--follow", code=1).stdout
    assert "Reason: " + shown["reason"] in story


def test_a_request_that_cannot_work_is_refused_before_anything_is_uploaded(
    operator: Operator,
) -> None:
    archive = operator.archive("refused.tar")
    refused = operator.run("submit", str(archive), "-o", "$$##", "--owner", "olivia", code=1)
    assert "$$##" in refused.stderr
    for file, slug, why in (
        (Path(__file__), "acme", "not a tar file"),
        (archive, "acme,nowhere", "does not hold nowhere. It holds acme."),
        (operator.archive_for_another_key("foreign.tar"), "acme", "a different key"),
    ):
        refused = operator.run("submit", str(file), "-o", slug, "--owner", "olivia", code=1)
        assert why in refused.stderr
        assert f"relocation scan {file}" in refused.stderr
    # What it says to type next works: the key is that of the service.
    assert "acme" in operator.run("scan", str(archive)).stdout
    assert not list((operator.home / "data" / "storage").rglob("*foreign.tar"))
    assert not list((operator.home / "data" / "storage").rglob("*refused.tar"))


def test_a_relocation_is_submitted_for_later(operator: Operator) -> None:
    archive = str(operator.archive("later.tar"))
    asked = ("submit", archive, "-o", "acme", "--owner", "olivia", "--at")
    at = f"{operator.now() + timedelta(days=2):%Y-%m-%d}T22:00"
    submitted = operator.json(*asked, at, "--time-zone", "Asia/Tokyo")
    path = f"flow_runs/{submitted['id']}"
    run = operator.api("GET", path).json()
    assert run["state"]["type"] == "SCHEDULED"
    assert run["expected_start_time"].startswith(at.replace("T22:00", "T13:00"))
    short = submitted["id"][:13]
    listed = operator.run("list", short).stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [[submitted["id"], "SCHEDULED"]]
    assert operator.json("list", "--status", "scheduled", short)[0]["owner"] == "olivia"
    assert operator.json("list", "--status", "waiting", short) == []
    assert f"SCHEDULED: it starts at {at[:10]} 13:00 UTC." in operator.run("show", short).stdout
    operator.api("DELETE", path)
    refused = operator.run(*asked, "2020-01-01T22:00", code=2)
    assert "past" in refused.stderr


def test_what_no_worker_has_begun_is_listed_and_shown(operator: Operator) -> None:
    """It begins in two seconds, which no worker picks up before: a pool without workers."""
    archive = str(operator.archive("waiting.tar"))
    pool = "work_pools/relocation"
    operator.api("PATCH", pool, {"is_paused": True})
    try:
        asked = ("submit", archive, "-o", "acme,", "--owner", "olivia")
        said = operator.run(*asked).stdout.split()
        relocation_id = said[1]
        assert said[-4:] == ["relocation", "show", "--follow", relocation_id]
        shown = operator.run("show", relocation_id).stdout
        assert "WAITING for a worker." in shown
        assert "worker" in shown.splitlines()[-1]
        assert operator.json("list", "--status", "waiting")[0]["id"] == relocation_id
        operator.run("abort", relocation_id[:13])
    finally:
        operator.api("PATCH", pool, {"is_paused": False})


def test_a_refusal_ends_with_what_to_type(operator: Operator) -> None:
    """Of a relocation that has ended well, nothing can be paused, aborted, retried or removed."""
    ended = next(iter(operator.json("list", "--status", "success")), None)
    if ended is None:
        ended = operator.ended(operator.submitted("ended", "marcus", projects=1))
    for command in ("pause", "unpause", "abort", "recover", "retry", "rollback"):
        said = operator.run(command, ended["id"][:13], code=1)
        assert "relocation s" in said.stderr.rpartition(": ")[2], said.stderr
    assert "none was given up" in operator.run("notices", "resend", ended["id"]).stdout


def test_a_list_without_an_entry_says_so(operator: Operator) -> None:
    said = operator.run("list", "no-such-thing")
    assert (said.stdout, said.stderr.strip()) == ("", "Nothing found.")
    refused = operator.run("list", "--status", "green", code=2)
    assert "SUCCESS" in refused.stderr


def test_steps_that_there_are_not_are_usage_errors(operator: Operator) -> None:
    assert "IMPORTING" in operator.run("pause", "x", "--before", "LUNCH", code=2).stderr


def test_doctor_finds_nothing_to_mend(operator: Operator) -> None:
    def healthy() -> Any:
        # A worker counts as online once it has sent its first heartbeat.
        checks = operator.json("doctor")
        return checks if all(check["good"] for check in checks) else None

    checked = {check["what"] for check in operator.until(healthy)}
    assert checked >= {"Prefect server", "worker", "automations", "pool", "sweep", "templates"}


def test_doctor_says_how_to_mend_a_server_that_is_away(operator: Operator) -> None:
    environment = {**operator.environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    away = type(operator)(operator.home, environment, operator.inbox, "")
    said = away.run("doctor", code=1).stdout
    assert "127.0.0.1:9" in said
    assert "PREFECT_API_URL" in said


def test_an_unknown_relocation_is_an_error_of_one_line(operator: Operator) -> None:
    words = "error: There is no relocation nothing. List all of them with: relocation list"
    for command in ("show", "report", "pause", "abort", "recover", "retry", "rollback"):
        said = operator.run(command, "nothing", code=1)
        assert said.stderr.strip() == words
        assert said.stdout == ""

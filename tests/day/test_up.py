"""One command runs the whole service on one machine, and ends it."""

import json
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from command_line import COMMAND, PATIENCE
from prefect.events.schemas.automations import AutomationCore
from up_command import Up

from relocation.example import example_archive, example_export
from relocation.local.demo.report import NEXT
from relocation.local.processes import free_port


def test_it_says_where_everything_is(up: Up) -> None:
    assert f"http://127.0.0.1:{up.port}\n" in up.said
    (page,) = re.findall(r"mails +(http://\S+)", up.said)
    assert "Relocation inbox" in httpx.get(page).text
    assert "archives/example.tar" in up.said


def test_a_taken_port_and_a_second_up_are_told_in_a_sentence(up: Up, tmp_path: Path) -> None:
    taken = up.run("up", "--port", str(up.port), code=1)
    assert taken.stderr.startswith(f"error: Port {up.port} on this machine is taken.")
    assert "--port" in taken.stderr
    second = up.run("up", "--port", str(free_port()), code=1)
    assert second.stderr.startswith("error: The service is already up")


def test_ctrl_c_leaves_no_process_and_the_next_up_goes_on(up: Up) -> None:
    archive = up.home / "large.tar"
    key = up.run("keys", "public").stdout
    archive.write_bytes(example_archive(example_export(organizations=1, projects=400), key))
    submitted = up.json("submit", str(archive), "-o", "acme", "--owner", "olivia")["id"]
    ledger = sqlite3.connect(up.home / "ledger.db")
    task = "SELECT 1 FROM relocation WHERE id = ? AND task = 'import_organizations'"
    up.until(lambda: ledger.execute(task, (submitted,)).fetchone())
    assert up.processes()

    assert "Stopped" in up.stop()
    assert up.processes() == []
    status = "SELECT status FROM relocation WHERE id = ?"
    assert ledger.execute(status, (submitted,)).fetchone() == ("INTERRUPTED",)

    up.start()
    shown = up.json("show", submitted, "--follow")
    assert shown["status"] == "SUCCESS"
    assert "INTERRUPTED" in [event["what"] for event in shown["story"]]

    def told() -> list[str] | None:
        names = [event["event"].partition(".")[2] for event in _events(up, submitted)]
        return names if "succeeded" in names else None

    # The interruption is told while the server stops, which may not take it any more.
    names = [name for name in up.until(told) if name != "interrupted"]
    assert names == ["started", "resumed", "succeeded"]
    for event in _events(up, submitted):
        assert event["payload"] == {
            "relocation_id": submitted,
            "round": 1,
            "organizations": ["acme"],
        }
        assert "olivia" not in str(event)


def test_a_worker_that_is_killed_is_started_again(up: Up) -> None:
    assert up.process is not None
    program = psutil.Process(up.process.pid)

    def worker() -> psutil.Process | None:
        for one in program.children():
            if one.cmdline()[3:5] == ["worker", "start"]:
                return one
        return None

    before = up.until(worker)
    before.kill()
    said = up.home.with_suffix(".log")
    up.until(lambda: "is being restarted" in said.read_text())
    assert up.until(worker) != before


def test_commands_find_the_server_that_up_has_recorded(up: Up) -> None:
    environment = {k: v for k, v in up.environment.items() if k != "PREFECT_API_URL"}
    done = subprocess.run(
        [COMMAND, "list", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert isinstance(json.loads(done.stdout), list)


def test_what_the_demo_says_to_type_next_works(up: Up) -> None:
    up_command, *others = NEXT
    assert up_command == "relocation up --example"  # as this service was started
    for command in others:
        up.run(*command.split()[1:])


def test_the_documented_automation_is_one_that_prefect_takes() -> None:
    page = Path(__file__).parents[2] / "docs" / "events.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    AutomationCore.model_validate(yaml.safe_load(text))


def _events(up: Up, relocation_id: str) -> list[Any]:
    """Return the events of a relocation, in order."""
    mine = {"filter": {"resource": {"id": [f"relocation.{relocation_id}"]}, "order": "ASC"}}
    answer = up.api("POST", "events/filter", mine)
    return sorted(answer.json()["events"], key=lambda event: str(event["occurred"]))

"""Two installations on one Prefect server: neither sees, settles or tells what is the other's."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from relocation.ledger.relocations import list_relocations
from relocation.local.processes import prefect_worker
from relocation.steps import Status
from relocation.transfer.load.embedded import add_users

ROOT = Path(__file__).parents[2]
LATER = ("--at", "2099-01-01T00:00", "--time-zone", "UTC")


def ask(operator: Any, path: str, *, method: str = "POST", **body: Any) -> Any:
    """Ask the server both share; a busy one answers 503 while another writes to its file."""

    def answered() -> httpx.Response | None:
        url = f"{operator.environment['PREFECT_API_URL']}/{path}"
        found = httpx.request(method, url, json=body or None)
        return None if found.status_code == 503 else found

    answer = operator.until(answered)
    assert answer.status_code in {200, 201, 204}, answer.text
    return answer.json() if answer.content else None


def ids(operator: Any) -> dict[str, str]:
    """Return the id of every deployment, automation, pool and queue, by kind and name."""
    return {
        f"{kind} {one.get('work_pool_name', '')} {one['name']}": one["id"]
        for kind in ("deployments", "automations", "work_pools", "work_queues")
        for one in ask(operator, f"{kind}/filter")
    }


@pytest.fixture(scope="module")
def west(operator: Any) -> Any:
    """The installation that has no name, and was there first."""
    add_users(operator.destination, ("wanda",))
    return operator


@pytest.fixture(scope="module")
def before(west: Any) -> dict[str, str]:
    """What there was before the second installation."""
    return ids(west)


@pytest.fixture(scope="module")
def east(
    west: Any, before: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A second installation, with a ledger, a destination and a worker of its own."""
    home = tmp_path_factory.mktemp("east")
    environment = {
        **west.environment,
        "RELOCATION_INSTALLATION": "east",
        "RELOCATION_HOME": str(home / "data"),
    }
    one = dataclasses.replace(west, home=home, environment=environment)
    one.setup_output = one.run("setup", "--user", "edith", "--inbox-port", str(west.inbox.port))
    url = environment["PREFECT_API_URL"]
    with prefect_worker(home / "prefect", url, "relocation-east", environment, limit=5):
        yield one
    for kind in ("deployments", "automations"):
        for each in ask(west, f"{kind}/filter"):
            if "east" in each["name"]:
                ask(west, f"{kind}/{each['id']}", method="DELETE")
    ask(west, "work_pools/relocation-east", method="DELETE")


def ledger(installation: Any) -> set[str]:
    """Return the relocations that an installation has recorded."""
    return {one.id for one in list_relocations(installation.ledger)}


def listed(installation: Any) -> set[str]:
    """Return what `relocation list` shows, with what no worker has begun."""
    return {one["id"] for one in installation.json("list")}


def test_another_installation_and_setting_up_again_leave_all_ids_as_they_are(
    west: Any, before: dict[str, str], east: Any
) -> None:
    both = ids(west)
    assert before.items() <= both.items()
    assert len(both) > len(before)
    east.run("setup")
    assert ids(west) == both


def test_each_relocates_into_its_own_destination(west: Any, east: Any) -> None:
    there = {}
    for one, owner in ((west, "wanda"), (east, "edith")):
        archive = one.archive(f"{owner}.tar")
        there[owner] = one.json("submit", str(archive), "-o", "acme", "--owner", owner)["id"]
    mine, other = there["wanda"], there["edith"]
    assert west.ended(mine)["status"] == east.ended(other)["status"] == Status.SUCCESS
    assert (west.imported(mine) > 0, west.imported(other)) == (True, 0)
    assert (east.imported(mine), east.imported(other) > 0) == (0, True)
    assert {mine, other} & ledger(west) == {mine}
    assert {mine, other} & ledger(east) == {other}
    assert {mine, other} & listed(west) == {mine}
    assert {mine, other} & listed(east) == {other}


def test_a_run_that_ends_unseen_is_settled_by_its_own_installation_alone(
    west: Any, east: Any
) -> None:
    archive = east.archive("unseen.tar")
    run = east.json("submit", str(archive), "-o", "acme", "--owner", "edith", *LATER)["id"]
    assert run in listed(east)
    assert run not in listed(west)
    assert "no relocation" in west.run("show", run, code=1).stderr.lower()

    # Before any worker has it, so that no hook can settle it.
    failed = {"type": "FAILED", "message": "by hand"}
    ask(west, f"flow_runs/{run}/set_state", state=failed, force=True)
    by_hand = f"from flows.handle_failure import handle_failure; handle_failure({run!r})"
    subprocess.run([sys.executable, "-c", by_hand], env=west.environment, cwd=ROOT, check=True)
    west.sweep()
    assert run not in ledger(west)

    assert east.ended(run)["status"] == Status.FAILURE
    assert run not in ledger(west)
    deployments = {one["id"]: one["name"] for one in ask(west, "deployments/filter")}
    started = ask(west, "flow_runs/filter", flow_runs={"name": {"any_": [f"handle-failure-{run}"]}})
    by = {deployments.get(one["deployment_id"]) for one in started}
    assert by == {None, "handle-failure-east"}, "None is the one by hand"


def test_the_doctor_looks_at_what_is_its_own(east: Any) -> None:
    checks = {one["what"]: one for one in east.json("doctor")}
    for what in ("deployments", "automations", "worker"):
        assert checks[what]["good"], checks[what]
    assert checks["worker"]["detail"] == "1 online"
    assert "ledger (relocation-ledger-east)" in checks

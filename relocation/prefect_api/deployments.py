"""The deployments at the Prefect server, with what they need there, and whether they are there."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from relocation.checkout import PROJECT
from relocation.errors import ConfigurationError
from relocation.prefect_api.automations import apply_automations
from relocation.prefect_api.pools import make_pool
from relocation.settings import Settings

_SWEEP = "sweep"
_TAG = "relocation"


def deploy(settings: Settings, pool: Path | None = None) -> str:
    """Apply work pool, deployments and automations under this installation's names; idempotent.

    A work pool that exists is left as it is; deployments and automations keep their ids. Returns
    what was done about the pool. Raises ConfigurationError, with Prefect's own words where those
    fail.
    """
    outcome = make_pool(settings, pool)
    with NamedTemporaryFile("w", prefix="relocation-", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(deployment_file(settings), file)
        file.flush()
        _prefect("--no-prompt", "deploy", "--all", "--prefect-file", file.name)
    apply_automations(settings)
    return outcome


def deployment_file(settings: Settings) -> dict[str, Any]:
    """Return what prefect.yaml says, under this installation's names."""
    file: dict[str, Any] = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    deployments = [_of_installation(one, settings) for one in file["deployments"]]
    return {"name": file["name"], "pull": file["pull"], "deployments": deployments}


def _of_installation(deployment: dict[str, Any], settings: Settings) -> dict[str, Any]:
    pool = deployment["work_pool"]
    named: dict[str, Any] = {name: settings.named(one) for name, one in pool.items()}
    if settings.installation:
        # Wherever a run is, it must know whose it is; what a pool's environment says is added.
        own = {"RELOCATION_INSTALLATION": settings.installation}
        named |= {"job_variables": {"env": own}}
    return {
        **deployment,
        "name": settings.named(deployment["name"]),
        "tags": [settings.named(tag) for tag in deployment["tags"]],
        "work_pool": named,
    }


def sweep_now(settings: Settings) -> str:
    """Let a worker sweep at once, rather than when it is due; returns the id of that run.

    Raises ConfigurationError where its deployment is missing.
    """
    name = f"{_SWEEP}/{settings.named(_SWEEP)}"
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound as err:
            raise ConfigurationError(
                "The relocation service is not fully set up.",
                internal=f"There is no deployment {name}; make it with: relocation setup",
            ) from err
        return str(client.create_flow_run_from_deployment(deployment.id).id)


def last_sweep(settings: Settings) -> tuple[datetime | None, timedelta | None]:
    """Return when a sweep last succeeded, and how far apart they are; None where none is due.

    Where none has, its deployment counts: a service that was just set up has swept nothing yet.
    """
    which = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
    )
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{_SWEEP}/{settings.named(_SWEEP)}")
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=which,
            sort=FlowRunSort.END_TIME_DESC,
            limit=1,
        )
    intervals = [
        one.schedule.interval
        for one in deployment.schedules
        if one.active and isinstance(one.schedule, IntervalSchedule)
    ]
    interval = min(intervals, default=None) if not deployment.paused else None
    return (runs[0].end_time if runs else deployment.created), interval


def server_problem() -> str | None:
    """Return why the Prefect server cannot be reached, or None when it answers."""
    if not PREFECT_API_URL.value():
        return "PREFECT_API_URL is not set"
    try:
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
    except httpx.HTTPError as err:
        problem = err
    return f"{PREFECT_API_URL.value()}: {problem}" if problem else None


def server_address() -> str:
    """Return the URL of the Prefect server's API."""
    return str(PREFECT_API_URL.value())


def server_about() -> tuple[str, str]:
    """Return the server's version of Prefect, and its time as it says it."""
    with get_client(sync_client=True) as client:
        answer = client.request("GET", "/admin/version")
    return str(answer.json()), answer.headers["date"]


def missing_deployments(settings: Settings) -> list[str]:
    """Return the deployments of this installation that the server does not have."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[settings.named(_TAG)]))
    with get_client(sync_client=True) as client:
        present = {one.name for one in client.read_deployments(deployment_filter=ours)}
    wanted = [one["name"] for one in deployment_file(settings)["deployments"]]
    return [name for name in wanted if name not in present]


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        command, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(
            "The deployments couldn't be applied.",
            internal=f"prefect {' '.join(arguments)}: {done.stdout}{done.stderr}",
        )

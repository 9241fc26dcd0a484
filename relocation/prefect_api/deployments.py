"""The deployments at the Prefect server, with what they need there, and whether they are there."""

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
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
from prefect.client.schemas.objects import DeploymentSchedule, StateType
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
_OLD_EXAMPLE = "example-every-night"
"""A schedule that was deployed as an example, switched off."""
_log = logging.getLogger(__name__)


def deploy(
    settings: Settings,
    pool: Path | None = None,
    *,
    overwrite: bool = False,
    tell: Callable[[str], object] | None = None,
) -> str:
    """Apply work pool, deployments and automations under this installation's names; idempotent.

    A work pool that exists is left as it is, unless the file is to overwrite it. Deployments and
    automations keep their ids, and schedules stay that somebody added; `tell` is told before one
    changes. Returns what was done about the pool. Raises ConfigurationError, with Prefect's own
    words where those fail.
    """
    outcome = make_pool(settings, pool, overwrite=overwrite)
    wanted = deployment_file(settings)
    _keep_schedules(wanted["deployments"], settings, tell or _log.warning)
    with NamedTemporaryFile("w", prefix="relocation-", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(wanted, file)
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


def _keep_schedules(
    deployments: list[dict[str, Any]], settings: Settings, tell: Callable[[str], object]
) -> None:
    """Add to each deployment what the server has besides the file's schedules.

    Prefect would remove those that were made in its UI, where the file has any of its own.
    """
    with get_client(sync_client=True) as client:
        present = {
            one.name: one for one in client.read_deployments(deployment_filter=_ours(settings))
        }
        for deployment in deployments:
            if deployment["name"] not in present:
                continue
            stored = present[deployment["name"]]
            for schedule in stored.schedules:
                if schedule.slug == _OLD_EXAMPLE and not schedule.active:
                    client.delete_deployment_schedule(stored.id, schedule.id)
            if "schedules" in deployment:
                others, changes = merge_schedules(deployment["schedules"], stored.schedules)
                deployment["schedules"] = deployment["schedules"] + others
                for change in changes:
                    tell(f"The {change} of {deployment['name']} becomes what prefect.yaml says.")


def merge_schedules(
    wanted: Sequence[Mapping[str, Any]], present: Sequence[DeploymentSchedule]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the schedules that the file lacks, in its words, and what of the others changes."""
    by_slug = {one["slug"]: one for one in wanted}
    others, changes = [], []
    for one in present:
        stored = _in_words(one)
        mine = by_slug.get(one.slug)
        if mine is None:
            others.append(stored)
        elif any(stored.get(word) != value for word, value in {"active": True, **mine}.items()):
            changes.append(f'schedule "{one.slug}"')
    return others, changes


def _in_words(one: DeploymentSchedule) -> dict[str, Any]:
    """Return a schedule of the server in the words of prefect.yaml."""
    timing = one.schedule.model_dump(mode="json", exclude_none=True)
    if isinstance(one.schedule, IntervalSchedule):
        timing["interval"] = one.schedule.interval.total_seconds()
    more = {"active": one.active, "slug": one.slug, "parameters": one.parameters}
    return timing | {word: value for word, value in more.items() if value not in (None, {})}


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
    with get_client(sync_client=True) as client:
        present = {one.name for one in client.read_deployments(deployment_filter=_ours(settings))}
    wanted = [one["name"] for one in deployment_file(settings)["deployments"]]
    return [name for name in wanted if name not in present]


def _ours(settings: Settings) -> DeploymentFilter:
    return DeploymentFilter(tags=DeploymentFilterTags(all_=[settings.named(_TAG)]))


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

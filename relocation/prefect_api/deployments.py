"""The deployments at the Prefect server with pool and automations, and whether they are there."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
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
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError

from relocation.checkout import PROJECT
from relocation.errors import ConfigurationError
from relocation.prefect_api.blocks import block_id
from relocation.settings import Settings

WORK_POOL = "relocation"
_SWEEP = "sweep/sweep"
FIRST_QUEUE = "safety-net"
"""The queue of what must not wait behind relocations."""


def deploy(settings: Settings, pool: Path | None = None) -> str:
    """Apply work pool, deployments and automations; idempotent.

    A work pool that exists is left as it is. Returns what was done about it. Raises
    ConfigurationError, with Prefect's own words where those fail.
    """
    outcome = _make_pool(pool)
    _make_first_queue()
    _prefect("--no-prompt", "deploy", "--all")
    _apply_automations(settings)
    return outcome


def sweep_now() -> str:
    """Let a worker sweep at once, rather than when it is due; returns the id of that run.

    Raises ConfigurationError where its deployment is missing.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(_SWEEP)
        except ObjectNotFound as err:
            raise ConfigurationError(
                "The relocation service is not fully set up.",
                internal=f"There is no deployment {_SWEEP}; make it with: relocation setup",
            ) from err
        return str(client.create_flow_run_from_deployment(deployment.id).id)


def last_sweep() -> tuple[datetime | None, timedelta | None]:
    """Return when a sweep last succeeded, and how far apart they are; None where none is due.

    Where none has, its deployment counts: a service that was just set up has swept nothing yet.
    """
    which = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
    )
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(_SWEEP)
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


def missing_deployments() -> list[str]:
    """Return the deployments of prefect.yaml that the server does not have."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["relocation"]))
    with get_client(sync_client=True) as client:
        present = {one.name for one in client.read_deployments(deployment_filter=ours)}
    wanted = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [one["name"] for one in wanted if one["name"] not in present]


def automation_problems() -> list[str]:
    """Return what keeps the automations of automations.yaml from doing their work."""
    found = []
    with get_client(sync_client=True) as client:
        for wanted in _wanted_automations():
            present = client.read_automations_by_name(wanted["name"])
            if not present:
                found.append(f'"{wanted["name"]}" is not applied')
            elif not present[0].enabled:
                found.append(f'"{wanted["name"]}" was disabled')
    return found


def workers_online() -> int:
    """Return how many workers of the work pool are alive; 0 where the pool is missing."""
    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(WORK_POOL)
        except ObjectNotFound:
            return 0
    return sum(worker.status == "ONLINE" for worker in workers)


def pool_template(settings: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """Return the base job template of a pool file: Prefect's own with our values as defaults.

    `types` is Prefect's list of worker types. Raises ConfigurationError for a type it does not
    have, and for a value that the type's schema refuses.
    """
    known = {name: each for package in types.values() for name, each in package.items()}
    kind, values = settings.get("type"), settings.get("job_variables") or {}
    if kind not in known or settings.keys() - {"type", "job_variables"}:
        raise _bad_pool(f"has `type` (one of {', '.join(sorted(known))}) and `job_variables`")
    template: dict[str, Any] = known[kind]["default_base_job_configuration"]
    variables = template["variables"]
    unknown = values.keys() - variables["properties"].keys()
    if unknown:
        raise _bad_pool(f"a {kind} pool has no {', '.join(sorted(unknown))}")
    try:
        validate(values, variables, raise_on_error=True, ignore_required=True)
    except ValidationError as err:
        raise _bad_pool(str(err)) from err
    properties = {
        name: {**schema, "default": values[name]} if name in values else schema
        for name, schema in variables["properties"].items()
    }
    return {**template, "variables": {**variables, "properties": properties}}


def _bad_pool(what: str) -> ConfigurationError:
    return ConfigurationError("The work pool file can't be used.", internal=f"pool file: {what}")


def _make_pool(file: Path | None) -> str:
    with get_client(sync_client=True) as client:
        try:
            return f"kept ({client.read_work_pool(WORK_POOL).type})"
        except ObjectNotFound:
            pass
        text = file.read_text(encoding="utf-8") if file else "type: process"
        settings = yaml.safe_load(text)
        if not isinstance(settings, dict):
            raise _bad_pool("is a mapping")
        template = pool_template(settings, client.read_worker_metadata())
        client.create_work_pool(
            WorkPoolCreate(name=WORK_POOL, type=settings["type"], base_job_template=template)
        )
    return f"created ({settings['type']})"


def _make_first_queue() -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_work_queue_by_name(FIRST_QUEUE, work_pool_name=WORK_POOL)
        except ObjectNotFound:
            client.create_work_queue(FIRST_QUEUE, priority=1, work_pool_name=WORK_POOL)


def _apply_automations(settings: Settings) -> None:
    with get_client(sync_client=True) as client:
        for wanted in _wanted_automations():
            actions = [_with_ids(action, client, settings) for action in wanted["actions"]]
            automation = AutomationCore.model_validate({**wanted, "actions": actions})
            present: list[Automation] = client.read_automations_by_name(automation.name)
            if not present:
                client.create_automation(automation)
                continue
            # What a person has disabled must not come back to life by itself.
            automation.enabled = present[0].enabled
            client.update_automation(present[0].id, automation)


def _wanted_automations() -> list[dict[str, Any]]:
    text = (PROJECT / "automations.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text))


def _with_ids(
    action: dict[str, Any], client: SyncPrefectClient, settings: Settings
) -> dict[str, Any]:
    """Put the ids that this server has in the place of names."""
    rest = {name: value for name, value in action.items() if name not in {"deployment", "block"}}
    ids: dict[str, UUID] = {}
    if "deployment" in action:
        ids["deployment_id"] = client.read_deployment_by_name(action["deployment"]).id
    if "block" in action:
        alerts = block_id(settings.alert_block)
        if alerts is None:
            raise ConfigurationError(
                "The relocation service is not fully set up.",
                internal=f'the block "{settings.alert_block}" does not exist',
            )
        ids["block_document_id"] = alerts
    return {**rest, **ids}


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

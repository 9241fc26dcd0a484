"""The work pool at the Prefect server: its template, its queue for what is overdue, its workers."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError

from relocation.errors import ConfigurationError
from relocation.settings import Settings

FIRST_QUEUE = "safety-net"
"""The queue of what must not wait behind relocations, as prefect.yaml has it."""
_PATHS = {"home", "templates"}
"""Settings that may differ from machine to machine."""


def make_pool(settings: Settings, file: Path | None, *, overwrite: bool = False) -> str:
    """Make work pool and queue where they are missing; returns what was done about the pool.

    A pool that exists is left as it is; with `overwrite` its job template becomes what the file
    says. Idempotent. Raises ConfigurationError for a file that is none, and for one of another type
    than the pool.
    """
    with get_client(sync_client=True) as client:
        outcome = _make_pool(client, settings.work_pool, file, overwrite=overwrite)
        queue = settings.named(FIRST_QUEUE)
        try:
            client.read_work_queue_by_name(queue, work_pool_name=settings.work_pool)
        except ObjectNotFound:
            client.create_work_queue(queue, priority=1, work_pool_name=settings.work_pool)
    return outcome


def _make_pool(client: SyncPrefectClient, name: str, file: Path | None, *, overwrite: bool) -> str:
    present = _find(client, name)
    if present and file is None:
        return f"kept ({present.type})"
    kind, template = _read(file, client.read_worker_metadata())
    if present is None:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        return f"created ({kind})"
    if present.type != kind:
        raise _bad_pool(
            f"it is of type {kind} and the pool {name} of type {present.type}, which can't change; "
            "delete the pool in the Prefect UI first"
        )
    if present.base_job_template == template:
        return f"kept ({kind})"
    if not overwrite:
        return f"kept ({kind}), though it differs from the file"
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return f"overwritten ({kind})"


def _find(client: SyncPrefectClient, name: str) -> WorkPool | None:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        return None


def _read(file: Path | None, types: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    text = file.read_text(encoding="utf-8") if file else "type: process"
    given = yaml.safe_load(text)
    if not isinstance(given, dict):
        raise _bad_pool("is a mapping")
    return str(given.get("type")), pool_template(given, types)


@dataclass(frozen=True)
class Differences:
    """Where the settings of the pool's runs differ from ours, in words."""

    set_otherwise: list[str]
    not_set: list[str]
    """What the pool does not set. Its image may, which only a run can tell."""


def environment_differences(settings: Settings) -> Differences:
    """Compare the environment that the pool gives its runs with these settings.

    A process has the environment of its worker besides.
    """
    with get_client(sync_client=True) as client:
        pool = _find(client, settings.work_pool)
    if pool is None:
        return Differences([], [])
    variables = pool.base_job_template.get("variables", {}).get("properties", {})
    given = variables.get("env", {}).get("default") or {}
    environment = {name: str(one) for name, one in given.items()}
    if settings.installation:  # that comes with the deployment, over what the pool says
        environment["RELOCATION_INSTALLATION"] = settings.installation
    theirs = Settings.of_environment(environment)
    told = theirs.model_fields_set - {"installation"}
    untold = settings.model_fields_set - told if pool.type != "process" else set()

    def differing(names: Collection[str]) -> list[str]:
        values = {name: (getattr(theirs, name), getattr(settings, name)) for name in names}
        return [
            f"RELOCATION_{name.upper()} is {there!s} there and {here!s} here"
            for name, (there, here) in sorted(values.items())
            if there != here and name not in _PATHS
        ]

    return Differences(differing(told), differing(untold))


def workers_online(settings: Settings) -> int:
    """Return how many workers of the work pool are alive; 0 where the pool is missing."""
    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(settings.work_pool)
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

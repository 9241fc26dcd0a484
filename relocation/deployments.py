"""The deployments at the Prefect server, and whether it is there."""

import subprocess
import sys
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from relocation.errors import ConfigurationError
from relocation.flow_runs import RELOCATE

WORK_POOL = "relocation"
PROJECT = Path(__file__).resolve().parents[1]


def deploy() -> None:
    """Create the work pool where it is missing and apply the deployments of prefect.yaml.

    Idempotent. Raises ConfigurationError with Prefect's own words when that fails.
    """
    _prefect("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite")
    _prefect("--no-prompt", "deploy", "--all")


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


def deployment_exists() -> bool:
    """Say whether the relocate flow is deployed."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(RELOCATE)
        except ObjectNotFound:
            return False
    return True


def workers_online() -> int:
    """Return how many workers of the work pool are alive; 0 where the pool is missing."""
    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(WORK_POOL)
        except ObjectNotFound:
            return 0
    return sum(worker.status == "ONLINE" for worker in workers)


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        command, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(
            "The deployments could not be applied.",
            internal=f"prefect {' '.join(arguments)}: {done.stdout}{done.stderr}",
        )

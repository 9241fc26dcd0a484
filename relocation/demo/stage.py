"""The demo's stage: a Prefect server, a worker, an inbox and the blocks, in a folder of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from relocation.demo.console import Console
from relocation.errors import ConfigurationError
from relocation.inbox import Inbox
from relocation.local import free_port, prefect_server, prefect_worker
from relocation.settings import Settings
from relocation.transfer.embedded import add_users

OWNERS = ("olivia", "marcus", "nadia", "petra")
"""Users of the destination: each owns one relocation of the demo."""

MARKER = ".made-by-relocation-demo"
"""Marks a folder that the demo may empty."""

_ENVIRONMENT = {
    "RELOCATION_PRODUCT_NAME": "Relocation demo",
    "RELOCATION_BACKOFF": "0.2",  # seconds instead of minutes between the tries
    "RELOCATION_CHUNK_RECORDS": "200",  # many small chunks, so that an import can be interrupted
}


@dataclass(frozen=True)
class Stage:
    """Everything that runs while the demo does."""

    home: Path
    settings: Settings
    ledger: Engine
    destination: Engine
    inbox: Inbox


@contextmanager
def set_stage(home: Path, console: Console) -> Iterator[Stage]:
    """Start everything in a fresh `home`; ends every process it started.

    Sets the environment of this process: Prefect reads its own from there when it is imported.
    """
    home = home.absolute()
    marker = home / MARKER
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise ConfigurationError(
            "The demo needs a folder of its own.", internal=f"{home} is in use, and not by the demo"
        )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    marker.touch()
    os.environ.update(_ENVIRONMENT, RELOCATION_HOME=str(home), PREFECT_HOME=str(home / "prefect"))
    with ExitStack() as stack:
        with console.doing("Starting a Prefect server and a local mail server"):
            inbox = stack.enter_context(Inbox(home / "inbox"))
            url = stack.enter_context(prefect_server(home / "prefect", free_port()))
            os.environ["PREFECT_API_URL"] = url
        # Imported only now: they import Prefect, which must find the server's address.
        from relocation.blocks import load_destination, load_ledger  # noqa: PLC0415
        from relocation.deployments import WORK_POOL, deploy  # noqa: PLC0415
        from relocation.setup import set_up  # noqa: PLC0415

        settings = Settings()
        with console.doing("Creating the five blocks, the ledger and an empty destination"):
            set_up(settings, inbox_port=inbox.port)
            ledger, destination = load_ledger(settings), load_destination(settings)
            add_users(destination, OWNERS)
        with console.doing("Deploying the flows and starting a worker"):
            deploy()
            stack.enter_context(prefect_worker(home / "prefect", url, WORK_POOL, _ENVIRONMENT))
        yield Stage(home, settings, ledger, destination, inbox)

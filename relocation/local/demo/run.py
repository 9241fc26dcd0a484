"""Play the demo and report on it."""

import shutil
from pathlib import Path

from relocation.errors import CommandError
from relocation.local.console import Console
from relocation.local.processes import free_port
from relocation.local.stack import running_stack
from relocation.transfer.load.accounts import add_users

OWNERS = ("olivia", "marcus", "nadia", "petra")
"""Users of the destination: each owns one relocation of the demo."""

MARKER = ".made-by-relocation-demo"
"""Marks a folder that the demo may empty."""

_ENVIRONMENT = {
    "RELOCATION_PRODUCT_NAME": "Relocation demo",
    "RELOCATION_BACKOFF": "0.2",  # seconds instead of minutes between the tries
    "RELOCATION_CHUNK_RECORDS": "200",  # many small chunks, so that an import can stop between two
}


def run_demo(home: Path) -> bool:
    """Play the scenario on a stack that begins empty in `home`, and report.

    Returns whether all relocations ended as they should.
    """
    console = Console()
    _empty(home)
    with running_stack(home, console, port=free_port(), environment=_ENVIRONMENT) as stack:
        # Imported only now: they import Prefect, which must find the machine's server.
        from relocation.local.demo.report import report  # noqa: PLC0415
        from relocation.local.demo.scenario import Scenario  # noqa: PLC0415

        add_users(stack.destination, OWNERS)
        endings = Scenario(stack, console).play()
        report(stack, console, endings)
    return all(ending.good for ending in endings)


def _empty(home: Path) -> None:
    marker = home / MARKER
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise CommandError(
            f"{home.absolute()} is in use, and not by the demo. Name another folder."
        )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    marker.touch()

"""The service as an operator has it: a server, a worker, an inbox, and the command line."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_line import COMMAND
from prefect_database import place_database
from service_operator import Operator

from relocation.local.inbox import Inbox
from relocation.local.processes import free_port, prefect_server, prefect_worker
from relocation.transfer.load.accounts import add_users

QUICK = {
    # What the server else takes a minute and more to find: a worker that is gone, a late run.
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "4",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "5",
}


@pytest.fixture(scope="session")
def operator(
    migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The service, set up and with a worker, and whoever operates it."""
    home = tmp_path_factory.mktemp("service")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in QUICK.items():
            patch.setenv(name, value)
        inbox = stack.enter_context(Inbox(home / "inbox"))
        prefect_home = place_database(migrated_prefect, home / "prefect")
        url = stack.enter_context(prefect_server(prefect_home, free_port())).url
        environment = {
            **os.environ,
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(prefect_home),
            "RELOCATION_HOME": str(home / "data"),
            "RELOCATION_BACKOFF": "0.1",
            "RELOCATION_CHUNK_RECORDS": "50",
            "RELOCATION_LEASE_SECONDS": "6",
            "RELOCATION_LEASE_RENEWAL": "2",
            "RELOCATION_SWEEP_LEASE": "30",  # one may die with its worker
            "COLUMNS": "200",
            "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        }
        one = Operator(home, environment, inbox, "")
        one.setup_output = one.run(
            "setup", "--user", "olivia", "--inbox-port", str(inbox.port)
        ).stdout
        add_users(one.destination, ("marcus", "nadia", "petra", "carl", "dora", "emil", "gerd"))
        one.start_worker = lambda: stack.enter_context(
            prefect_worker(prefect_home, url, "relocation", environment, limit=10)
        )
        one.worker = one.start_worker()
        yield one

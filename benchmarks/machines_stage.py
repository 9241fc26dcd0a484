"""Machines that share nothing but the network: databases, a storage, a Prefect server, workers."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.debian_postgres import DebianPostgres
from benchmarks.soak_machines import Program, await_api
from benchmarks.soak_peer import Peer
from benchmarks.soak_stage import Stage, open_named
from relocation.checkout import PROJECT
from relocation.local.processes import free_port
from relocation.process import LOOPBACK
from relocation.transfer.database.schema import create_embedded

CODE = ("flows", "tasks", "relocation", "templates")
DATABASES = ("prefect", "ledger", "destination")
CONNECTIONS = 400
WORKERS = 2

EVERYWHERE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RELOCATION_STORAGE_BLOCK": "remote-file-system/relocation-storage",
    "RELOCATION_BACKOFF": "0.1",
    "RELOCATION_LEASE_SECONDS": "15",
    "RELOCATION_LEASE_RENEWAL": "3",
    "RELOCATION_START_LIMIT": "45",
    "RELOCATION_CHUNK_RECORDS": "20",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}


class Machine:
    """A folder with a copy of the code, and all that a process elsewhere keeps in its own home."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self.folder = folder
        code = folder / "code"
        for name in CODE:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, code / name, ignore=ignored)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(code),  # before the packages of the checkout
            "PREFECT_API_URL": api_url,
            **EVERYWHERE,
        }
        names = {"HOME": "home", "TMPDIR": "tmp", "PREFECT_HOME": "prefect"}
        for variable, name in (names | {"RELOCATION_HOME": "relocation"}).items():
            (folder / name).mkdir()
            self.environment[variable] = str(folder / name)

    def program(self, name: str, arguments: list[str], **more: str) -> Program:
        """Return a program of Prefect that runs here."""
        return Program(name, arguments, self.folder, environment=self.environment | more)


@contextmanager
def set_stage(home: Path, at_once: int) -> Iterator[tuple[Stage, list[Machine]]]:
    """Start everything but the workers in a new `home`, and end every process of it.

    Sets the environment of this process: Prefect reads its own from there when it is imported.
    """
    port, storage_port = free_port(), free_port()
    url = f"http://{LOOPBACK}:{port}/api"
    with ExitStack() as stack:
        postgres = stack.enter_context(DebianPostgres(DATABASES, CONNECTIONS))
        server = _started(stack, _server(home, url, port, postgres))
        storage = _storage(home, storage_port)
        _started(stack, storage[0])
        peer = Peer(free_port(), seed=1)
        peer.start()
        stack.callback(peer.stop)
        here = Machine(home / "operator", url)
        os.environ.update(
            {name: here.environment[name] for name in here.environment if name != "PYTHONPATH"}
        )
        destination = open_named(postgres, "destination")
        create_embedded(destination)
        await_api(url)
        _set_up(postgres, peer.port, storage[1])
        machines = [Machine(home / f"machine-{number}", url) for number in range(WORKERS)]
        arguments = ["worker", "start", "--pool", "relocation", "--limit", str(at_once), "--name"]
        workers = [
            machine.program("worker", [*arguments, machine.folder.name]) for machine in machines
        ]
        for worker in workers:
            stack.callback(worker.die)
        ledger = open_named(postgres, "ledger")
        yield Stage(postgres, server, workers, peer, url, ledger, destination), machines


def _started(stack: ExitStack, program: Program) -> Program:
    stack.callback(program.kill, everything=True)
    program.start()
    return program


def _server(home: Path, url: str, port: int, postgres: DebianPostgres) -> Program:
    database = postgres.url("prefect", "postgresql+asyncpg")
    more = {
        "PREFECT_API_DATABASE_CONNECTION_URL": database.render_as_string(hide_password=False),
        "PREFECT_SERVER_LOGGING_LEVEL": "INFO",  # a line for each call of its API
        # Of a machine that died, the places at work are free again after so long.
        "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",
    }
    arguments = ["server", "start", "--host", LOOPBACK, "--port", str(port)]
    return Machine(home / "server", url).program("server", arguments, **more)


def _storage(home: Path, port: int) -> tuple[Program, dict[str, object]]:
    """Return a file server, and the fields of the block that reaches it."""
    password = secrets.token_urlsafe(12)
    kept = home / "storage"
    kept.mkdir()
    arguments = ["--interface", LOOPBACK, "--port", str(port), "--directory", str(kept), "--write"]
    arguments += ["--username", "relocation", "--password", password]
    access = {"host": LOOPBACK, "port": port, "username": "relocation", "password": password}
    return (
        Program("storage", arguments, home, module="pyftpdlib"),
        {"basepath": f"ftp://{LOOPBACK}:{port}/relocation", "settings": access},
    )


def _set_up(postgres: DebianPostgres, mail_port: int, storage: dict[str, object]) -> None:
    # Imported only now: they import Prefect, which must find the server's address.
    from relocation.prefect_api.deployments import deploy  # noqa: PLC0415
    from relocation.prefect_api.setup import set_up  # noqa: PLC0415
    from relocation.settings import Settings  # noqa: PLC0415

    fields: dict[str, dict[str, object]] = {
        name: {"url": postgres.url(name).render_as_string(hide_password=False)}
        for name in ("ledger", "destination")
    }
    set_up(Settings(), inbox_port=mail_port, fields=fields | {"storage": storage})
    deploy(Settings())

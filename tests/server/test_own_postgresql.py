"""The page on one's own PostgreSQL: what it says to write and to type works there."""

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_line import COMMAND, PATIENCE
from prefect_database import place_database
from sqlalchemy import URL, create_engine, text

from relocation.archive.envelope import seal_export
from relocation.database import engine_options, prepare
from relocation.example import example_export, write_export
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port, prefect_server, prefect_worker
from relocation.transfer.database.schema import embedded_tables
from relocation.transfer.load.accounts import add_users

PAGE = (Path(__file__).parents[2] / "docs" / "own-postgresql.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.strip().splitlines()
]
INBOX_PORT = "INBOX_PORT"


@pytest.fixture
def databases(postgres_server: URL) -> Iterator[dict[str, URL]]:
    """A database for the ledger and one for the destination, both empty."""
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    made = {role: f"{role}_{uuid.uuid4().hex[:12]}" for role in ("relocation", "sentry")}
    with admin.connect() as connection:
        for name in made.values():
            connection.execute(text(f"CREATE DATABASE {name}"))
    yield {role: postgres_server.set(database=name) for role, name in made.items()}
    with admin.connect() as connection:
        for name in made.values():
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def own_postgresql(
    databases: dict[str, URL], migrated_prefect: Path, tmp_path: Path
) -> Iterator[tuple[dict[str, str], Callable[[], object]]]:
    """The environment of a server with an inbox beside it, and what starts its worker."""
    ((name, described),) = re.findall(r"`([\w.]+)`:\n\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / name).write_text(described, encoding="utf-8")
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox(tmp_path / "inbox"))
        prefect_home = place_database(migrated_prefect, tmp_path / "prefect")
        url = stack.enter_context(prefect_server(prefect_home, free_port())).url
        environment: dict[str, str] = {
            **os.environ,
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(prefect_home),
            "RELOCATION_HOME": str(tmp_path / "data"),
            "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
            INBOX_PORT: str(inbox.port),
        }

        yield (
            environment,
            lambda: stack.enter_context(
                prefect_worker(prefect_home, url, "relocation", environment)
            ),
        )


def test_what_the_page_says_works(
    databases: dict[str, URL],
    own_postgresql: tuple[dict[str, str], Callable[[], object]],
    tmp_path: Path,
) -> None:
    destination = prepare(create_engine(databases["sentry"], **engine_options("postgresql")))
    embedded_tables().create_all(destination)
    add_users(destination, ("olivia",))
    said = _carry_out(databases, tmp_path, *own_postgresql)
    assert "SUCCESS" in said
    with destination.connect() as connection:
        found = connection.execute(text("SELECT slug, status FROM sentry_organization")).all()
    destination.dispose()
    assert ("acme", 0) in [tuple(row) for row in found]


def _carry_out(
    databases: dict[str, URL],
    home: Path,
    environment: dict[str, str],
    start_worker: Callable[[], object],
) -> str:
    """Type the commands in their order; return what the last one said."""
    said = ""
    for line in COMMANDS:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            database = value.rpartition("/")[2]
            if database in databases:  # a server of the test's own in place of the example's
                value = databases[database].render_as_string(hide_password=False)
            environment[name] = value
            continue
        # Where the embedded inbox listens is nothing that the page has to say.
        more = (
            f" --inbox-port {environment[INBOX_PORT]}"
            if line.startswith("relocation setup")
            else ""
        )
        done = _run(line + more, home, environment)
        deadline = time.monotonic() + PATIENCE
        while done.returncode and "no worker" in _bad(done) and time.monotonic() < deadline:
            done = _run(line, home, environment)  # it is on its way
        assert done.returncode == 0, (line, _bad(done), done.stderr)
        said = done.stdout
        if line.startswith("relocation setup"):
            start_worker()
        if line.startswith("relocation keys public"):
            _export(home)
    return said


def _run(line: str, home: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-c", line],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _bad(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what `doctor` says is wrong; "no worker" where one only has to start."""
    wrong = [" ".join(line.split()) for line in done.stdout.splitlines() if "BAD" in line]
    return "no worker" if wrong and all("none is online" in one for one in wrong) else str(wrong)


def _export(home: Path) -> None:
    """Make the archive at the other end, for the key that was handed over."""
    plain = home / "export.json"
    with plain.open("wb") as out:
        write_export(example_export(organizations=1), out)
    key = (home / "relocation-public.pem").read_text()
    with plain.open("rb") as export, (home / "acme.tar").open("wb") as archive:
        seal_export(export, key, archive)

"""The page on one's own PostgreSQL: what it says to write and to type works there."""

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, PATIENCE
from real_tables import exported_by_it, make_real_tables
from sqlalchemy import URL, create_engine, text

from relocation.archive.envelope import seal_export
from relocation.database import engine_options, prepare
from relocation.example import write_export
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port, prefect_server, prefect_worker

PAGE = (Path(__file__).parents[2] / "docs" / "own-postgresql.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.strip().splitlines()
]
OWNER = (
    "INSERT INTO auth_user (username, email, first_name, password, is_active, is_staff,"
    " is_superuser, is_managed, is_password_expired, avatar_type, date_joined) VALUES"
    " ('olivia', 'olivia@example.org', 'Olivia', '!', true, false, false, false, false, 0, now())"
)


@pytest.fixture
def databases(postgres_server: URL) -> Iterator[dict[str, URL]]:
    """An empty database for the ledger, and one with the tables of a real Sentry."""
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


@pytest.mark.server
def test_what_the_page_says_works(databases: dict[str, URL], tmp_path: Path) -> None:
    destination = prepare(create_engine(databases["sentry"], **engine_options("postgresql")))
    with destination.begin() as connection:
        make_real_tables(connection)
        connection.execute(text(OWNER))
    (described,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "blocks.yaml").write_text(described, encoding="utf-8")
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox(tmp_path / "inbox"))
        url = stack.enter_context(prefect_server(tmp_path / "prefect", free_port())).url
        environment: dict[str, str] = {
            **os.environ,
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "RELOCATION_HOME": str(tmp_path / "data"),
            "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        }
        said = _carry_out(databases, tmp_path, environment, stack, inbox.port)
    assert "SUCCESS" in said
    with destination.connect() as connection:
        found = connection.execute(text("SELECT slug, status FROM sentry_organization")).all()
    destination.dispose()
    assert ("acme", 0) in [tuple(row) for row in found]


def _carry_out(
    databases: dict[str, URL],
    home: Path,
    environment: dict[str, str],
    stack: ExitStack,
    inbox_port: int,
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
        more = f" --inbox-port {inbox_port}" if line.startswith("relocation setup") else ""
        done = _run(line + more, home, environment)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        said = done.stdout
        if line.startswith("relocation setup"):
            url = environment["PREFECT_API_URL"]
            stack.enter_context(prefect_worker(home / "prefect", url, "relocation", environment))
        if line.startswith("relocation keys public"):
            _export(home)
    return said


def _run(line: str, home: Path, environment: dict[str, str]) -> Any:
    return subprocess.run(
        ["sh", "-c", line],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _export(home: Path) -> None:
    """Make the archive at the other end, for the key that was handed over."""
    plain, records = home / "export.json", exported_by_it()
    with plain.open("wb") as out:
        write_export([one for model in records.models() for one in records.records(model)], out)
    key = (home / "relocation-public.pem").read_text()
    with plain.open("rb") as export, (home / "acme.tar").open("wb") as archive:
        seal_export(export, key, archive)

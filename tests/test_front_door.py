"""What the commands say where no server is known, or none answers."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from command_line import COMMAND, PATIENCE

from relocation.cli.server import find_server
from relocation.local.address import recorded, recorded_address
from relocation.local.processes import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which importing Prefect, which takes seconds, is an error."""
    trap = tmp_path / "trap" / "prefect"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('Prefect was imported')")
    return tmp_path


def refused(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command that must refuse, without Prefect; return what it said."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        "PYTHONPATH": str(folder / "trap"),
        "PREFECT_HOME": str(folder / "prefect"),
        "RELOCATION_HOME": str(folder / "home"),
        **variables,
    }
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "1"),
        ("setup",),
        ("stats",),
        ("sweep",),
        ("recover", "1"),
        ("keys", "public"),
        ("notices", "resend", "1"),
        ("claims", "renew", "1"),
    ],
    ids=" ".join,
)
def test_a_command_without_a_server_says_what_to_type(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    said = refused(folder, *arguments)
    assert said.startswith("error: No Prefect server is known.")
    assert "relocation up" in said
    assert not (folder / "prefect").exists()


def test_a_server_that_does_not_answer_is_named_with_what_to_type(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    said = refused(folder, "list", PREFECT_API_URL=url)
    assert said.startswith(f"error: No Prefect server answers at {url}.")
    assert "relocation up" in said


def test_the_address_that_up_recorded_is_used(folder: Path) -> None:
    home, url = folder / "home", f"http://127.0.0.1:{free_port()}/api"
    home.mkdir()
    with recorded(home, url):
        assert recorded_address(home) == url
        assert f"answers at {url}." in refused(folder, "list")
    assert recorded_address(home) is None


def test_a_named_server_counts_more_than_the_recorded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://named/api")
    with recorded(tmp_path, "http://recorded/api"):
        assert find_server() == "http://named/api"
        monkeypatch.delenv("PREFECT_API_URL")
        assert find_server() == "http://recorded/api"


def test_prefect_starts_no_server_of_its_own_and_tells_its_makers_nothing(folder: Path) -> None:
    names = ("SERVER_ALLOW_EPHEMERAL_MODE", "SERVER_ANALYTICS_ENABLED")
    told = ", ".join(f"os.environ['PREFECT_{name}']" for name in names)
    trap = folder / "trap" / "prefect" / "__init__.py"
    trap.write_text(f"import os; raise SystemExit(repr([{told}, os.environ['DO_NOT_TRACK']]))")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        assert refused(folder, "list", PREFECT_API_URL=url) == "['false', 'false', '1']"

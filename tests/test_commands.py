"""Commands that need no server."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relocation.cli.main import app

run = CliRunner()


def test_keys_are_made_private_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mine.pem"
    create = ["keys", "create", str(file), "--bits", "2048"]
    assert run.invoke(app, create).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    shown = json.loads(run.invoke(app, ["keys", "public", str(file), "--json"]).stdout)
    assert shown["public_key"].startswith("-----BEGIN PUBLIC KEY")
    again = run.invoke(app, create)
    assert again.exit_code == 1
    assert "never overwritten" in again.stderr
    assert file.read_bytes() == before


def test_the_public_key_of_a_private_one_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "mine.pem"
    run.invoke(app, ["keys", "create", str(file), "--bits", "2048"])
    said = run.invoke(app, ["keys", "public", str(file)]).stdout
    assert said.startswith("-----BEGIN PUBLIC KEY")
    assert "PRIVATE" not in said


def test_a_file_that_is_no_key_is_an_error_of_one_line(tmp_path: Path) -> None:
    file = tmp_path / "no.pem"
    file.write_text("hello")
    said = run.invoke(app, ["keys", "public", str(file)])
    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 1
    assert said.stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "setup",
        "demo",
        "inbox",
        "submit",
        "list",
        "show",
        "report",
        "handover",
        "plan",
        "export",
        "import",
        "encrypt",
        "decrypt",
        "keys",
        "keys create",
        "keys public",
        "doctor",
        "notices",
        "notices preview",
        "claims",
        "claims renew",
        "recover",
    ],
)
def test_every_command_has_help(command: str) -> None:
    said = run.invoke(app, [*command.split(), "--help"])
    assert said.exit_code == 0
    assert len(said.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["r-1", "--like", "r-2"],
        ["--like", "r-2", "--all-failed-since", "2026-03-19"],
        ["--all-failed-since", "yesterday"],
        ["--like", "r-2", "--at-once", "0"],
    ],
)
def test_recover_wants_one_relocation_or_one_way_to_choose_many(arguments: list[str]) -> None:
    assert run.invoke(app, ["recover", *arguments]).exit_code == 2


def test_the_demo_empties_no_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    said = run.invoke(app, ["demo", "--home", str(tmp_path)])
    assert said.exit_code == 1
    assert "in use" in said.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_what_a_request_says_is_never_read_as_markup() -> None:
    said = run.invoke(app, ["submit", __file__, "-o", "[/red]", "--owner", "olivia"])
    assert said.exit_code == 1
    assert "[/red]" in said.stderr

"""Commands that need no server."""

import json
import re
import stat
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from relocation.cli import output, relocations, server
from relocation.cli.main import app
from relocation.example import example_archive, example_export
from relocation.prefect_api.awaited import Awaited

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
    assert said.exit_code == 2
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
        "sweep",
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


def test_help_shows_every_command_in_a_group_and_what_is_needed_first_at_the_top() -> None:
    said = run.invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    headings = [line.strip("╭─╮ ") for line in said.splitlines() if line.startswith("╭")]
    groups = ["Relocate", "Control a relocation", "Work with files", "Run the service"]
    assert headings == ["Options", *groups]
    words = said.split()
    assert words.index("submit") < words.index("scan") < words.index("up")


def test_no_name_of_an_option_is_cut_off_in_a_help_of_eighty_columns() -> None:
    commands = [("", get_command(app))]
    for path, command in commands:
        said = run.invoke(app, [*path.split(), "--help"], env={"COLUMNS": "80"}).stdout
        assert max(map(len, said.splitlines())) <= 80
        names = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        options = {name for name in names if name.startswith("-")}
        assert options <= set(re.split(r"[\s,]+", said)), path
        if isinstance(command, TyperGroup):
            commands += [(f"{path} {name}", one) for name, one in command.commands.items()]
    assert {" submit", " claims renew"} <= dict(commands).keys()


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


def test_the_version_is_said() -> None:
    assert run.invoke(app, ["--version"]).stdout.startswith("relocation ")


def test_a_key_has_one_fingerprint_in_each_form(tmp_path: Path) -> None:
    private, public, archive = tmp_path / "mine.pem", tmp_path / "mine.pub", tmp_path / "acme.tar"
    run.invoke(app, ["keys", "create", str(private), "--bits", "2048"])
    public.write_text(run.invoke(app, ["keys", "public", str(private)]).stdout)
    archive.write_bytes(example_archive(example_export(organizations=1), public.read_text()))
    said = [
        run.invoke(app, ["keys", "fingerprint", str(one)]) for one in (private, public, archive)
    ]
    (fingerprint,) = {one.stdout.strip() for one in said}
    assert fingerprint.startswith("SHA256:")
    scanned = run.invoke(app, ["scan", str(archive), "--key", str(private)])
    assert fingerprint in scanned.stdout
    assert "accepted by a service with this key" in scanned.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", "no/such/folder/key.pem"],
        ["keys", "public", "README.md"],
        ["keys", "fingerprint", "README.md"],
        ["up", "--port", "99999999"],
        ["inbox", "--port", "99999999"],
        ["submit", __file__, "-o", "acme", "--owner", "olivia", "--at", "tomorrow"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_in_words(arguments: list[str]) -> None:
    said = run.invoke(app, arguments)
    assert said.exit_code == 2
    assert "Error" not in said.stderr.replace("Error ─", "")
    assert said.stderr


def test_ids_are_whole_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    terminal = Console(force_terminal=True, width=80, file=shown, highlight=False)
    for module in (output, relocations):
        monkeypatch.setattr(module, "out", terminal)
    ids = [f"0123456{number}-4567-4567-4567-0123456789ab" for number in range(3)]
    now = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
    relocations._print_list(
        [
            Awaited(one, "SCHEDULED", ("acme", "a-very-long-slug-indeed"), "o", None, now, now)
            for one in ids
        ]
    )
    lines = shown.getvalue().splitlines()
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in lines)
    assert all(any(one in line for line in lines) for one in ids)


def test_a_table_in_a_pipe_is_as_narrow_as_what_it_holds() -> None:
    with pytest.MonkeyPatch.context() as patch:
        piped = StringIO()
        patch.setattr(output, "out", Console(file=piped, width=80))
        output.print_table(("id", "why"), [("1", "x" * 200), ("22", "short")])
    assert piped.getvalue().splitlines() == ["id  why", f"1   {'x' * 200}", "22  short"]


def test_frames_of_prefect_are_no_part_of_what_an_error_says() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/v/lib/python3.11/site-packages/prefect/engine.py", line 1, in run\n'
        "    run()\n"
        '  File "/srv/relocation/steps.py", line 2, in step\n'
        "    step()\n"
        "ValueError: it is full"
    )
    kept = output.without_frames_of_prefect(text).splitlines()
    assert [line.strip() for line in kept] == [
        "Traceback (most recent call last):",
        'File "/srv/relocation/steps.py", line 2, in step',
        "step()",
        "ValueError: it is full",
    ]


@pytest.mark.parametrize("option", ["-o", "--organization", "--organizations"])
def test_slugs_are_named_the_same_way_for_every_command(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_chosen", lambda: False)  # by another test of this process
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for home in ("PREFECT_HOME", "RELOCATION_HOME"):
        monkeypatch.setenv(home, str(tmp_path))
    file = tmp_path / "export.json"
    run.invoke(app, ["example", str(file)])
    said = run.invoke(app, ["scan", str(file), option, "acme,birch-labs,", "--json"])
    assert [one["to_move"] for one in json.loads(said.stdout)["organizations"]] == [True, True]
    for command in (["submit", str(file), "--owner", "olivia"], ["plan", str(file)]):
        said = run.invoke(app, [*command, option, "acme,birch-labs"])
        assert "No Prefect server is known" in said.stderr

"""The recipes of CONTRIBUTING.md are carried out, in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
_EDIT = re.compile(
    r"^(?:In `(?P<file>[^`]+)`, (?P<where>after|before) `(?P<anchor>[^\n]+?)`[,:]"
    r"|A new file `(?P<new>[^`]+)`[,:]"
    r"|Append it to `(?P<list>[^`]+)`:)"
    r"[^`]*?\n\n```\w+\n(?P<block>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
COPIED = (
    *("flows", "tasks", "relocation", "templates", "tests", "docs", "pyproject.toml"),
    *("prefect.yaml", "automations.yaml", ".env.example", "README.md"),
)


def section(heading: str) -> str:
    """Return what stands under a heading."""
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """Return every line of its shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, to be changed."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("node_modules", "__pycache__", "*.png")
            shutil.copytree(source, tmp_path / name, ignore=left_out)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def carry_out(copy: Path, text: str) -> int:
    """Make every edit that a recipe tells of; return how many there were."""
    edits = list(_EDIT.finditer(text))
    for edit in edits:
        block = edit["block"]
        if edit["new"]:
            file = copy / edit["new"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block, encoding="utf-8")
        elif edit["list"]:
            file = copy / edit["list"]
            known = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps([*known, json.loads(block)]), encoding="utf-8")
        else:
            file = copy / edit["file"]
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            (at,) = [n for n, line in enumerate(lines) if line.strip() == edit["anchor"]]
            indent = lines[at][: -len(lines[at].lstrip())]
            at += edit["where"] == "after"
            lines.insert(at, textwrap.indent(block, indent))
            file.write_text("".join(lines), encoding="utf-8")
    return len(edits)


def run(copy: Path, *command: str) -> str:
    """Run a command in the copy, on the code of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def check(copy: Path, recipe: str) -> None:
    """Run the tests that a recipe ends with, and the linters."""
    (line,) = [line for line in commands(recipe) if "pytest" in line]
    _, _, arguments = line.partition(" -m ")
    run(copy, sys.executable, "-m", *arguments.split(), "-q", "-p", "no:cacheprovider")
    run(copy, "ruff", "format", "--check", "flows", "tasks", "relocation")
    run(copy, "ruff", "check", "flows", "tasks", "relocation")
    run(copy, "lint-imports", "--no-cache")


@pytest.mark.deep
def test_a_task_is_added_as_the_recipe_says(copy: Path) -> None:
    recipe = section("How to add a task")
    assert carry_out(copy, recipe) == 6
    run(copy, sys.executable, "docs/configuration.py")
    check(copy, recipe)
    said = run(copy, sys.executable, "-c", "from flows import relocate; print(relocate.__file__)")
    assert Path(said.strip()).is_relative_to(copy)


@pytest.mark.deep
def test_a_model_is_added_as_the_recipe_says(copy: Path) -> None:
    recipe = section("How to add a model")
    assert carry_out(copy, recipe) == 2
    check(copy, recipe)


@pytest.mark.deep
def test_a_notice_is_added_as_the_recipe_says(copy: Path) -> None:
    recipe = section("How to add a notice")
    assert carry_out(copy, recipe) == 5
    (line,) = commands(recipe)
    program, *arguments = line.split()
    assert program == "relocation"
    run(copy, sys.executable, "-c", "from relocation.cli import main; main()", *arguments)
    assert "t forget acme" in (copy / "preview" / "reminder.html").read_text(encoding="utf-8")
    assert "acme is waiting" in (copy / "preview" / "reminder.txt").read_text(encoding="utf-8")


def test_every_tier_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = project["tool"]["pytest"]["ini_options"]["markers"]
    tiers = re.findall(r"^\| `(\w+)` \|", section("The tests"), flags=re.MULTILINE)
    assert tiers == [marker.partition(":")[0] for marker in markers]


def test_every_target_that_is_named_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = {
        word
        for line in re.findall(r"(?:^|`)make ([a-z -]+)(?:`|$)", TEXT, flags=re.MULTILINE)
        for word in line.split()
    }
    assert named
    assert named <= set(targets)


def test_every_file_that_is_named_exists() -> None:
    changed = {edit["new"] for edit in _EDIT.finditer(TEXT)}
    named = set(re.findall(r"`((?:relocation|tests|tasks|flows)/[\w/.]+)`", TEXT)) - changed
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("line", [one for one in commands(section("The tests")) if "pytest" in one])
def test_a_single_file_is_tested_as_it_says(line: str) -> None:
    _, _, arguments = line.partition(" -m ")
    run(ROOT, sys.executable, "-m", *arguments.split(), "-q", "-p", "no:cacheprovider")

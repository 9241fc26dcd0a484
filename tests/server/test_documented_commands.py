"""Every command in the documentation is one that works."""

import re
import subprocess
from pathlib import Path

import pytest
from command_line import PATIENCE
from service_operator import Operator

from relocation.archive.records import Record
from relocation.example import example_export

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def commands() -> list[str]:
    """Every line of every shell block, in order."""
    blocks = [
        block
        for document in DOCUMENTS
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), flags=re.DOTALL)
    ]
    return [line for block in blocks for line in block.strip().splitlines()]


# What the service of these tests is made with, by the same words (conftest.py).
STARTED_BY_THE_SERVICE = {
    ". .venv/bin/activate",
    "relocation inbox",
    "prefect server start",
    "prefect worker start --pool relocation",
}


def test_the_documented_commands_work_in_their_order(operator: Operator) -> None:
    operator.export("export.json", example_export(organizations=1))
    for name in ("before.json", "after.json"):
        operator.export(name, [Record("sentry.option", 1, {"key": "a", "value": 1})])
    (operator.home / "blocks.yaml").write_text("storage: {basepath: elsewhere}")
    relocation_id = ""
    for line in commands():
        if line.startswith("make ") or line in STARTED_BY_THE_SERVICE:
            continue
        done = subprocess.run(
            ["sh", "-c", line.replace("RELOCATION_ID", relocation_id)],
            env=operator.environment,
            cwd=operator.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if line.startswith("relocation submit") and "--at" not in line:
            (relocation_id,) = re.findall(r"Relocation (\S+) was submitted", done.stdout)
            operator.ended(relocation_id)
    assert relocation_id


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_a_documented_make_target_exists(line: str) -> None:
    assert set(line.partition("#")[0].split()[1:]) <= TARGETS

"""The rules of the house that no other tool holds."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path for folder in ("flows", "tasks", "relocation") for path in (ROOT / folder).rglob("*.py")
)


def test_imports_keep_the_contracts() -> None:
    # In a process of its own: it would silence the loggers of this one.
    lint = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_400_lines(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", ["flows", "tasks", "relocation", "templates"])
def test_no_other_distribution_provides_a_package_of_ours(name: str) -> None:
    assert importlib.metadata.packages_distributions().get(name, ["relocation"]) == ["relocation"]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_host_and_keeps_the_bounds(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    pins = dict(re.findall(r"^([a-z0-9-]+)==([0-9.]+)", text, flags=re.MULTILINE))
    assert (3, 9, 1) <= tuple(map(int, pins["prefect"].split("."))) < (4,)

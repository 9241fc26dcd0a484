"""The rules of the house that no other tool holds."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_keep_the_contracts() -> None:
    # In a process of its own: it would silence the loggers of this one.
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_module_has_at_most_400_lines() -> None:
    modules = [
        path
        for folder in ("flows", "tasks", "relocation")
        for path in (ROOT / folder).rglob("*.py")
    ]
    lines = {str(one): len(one.read_text(encoding="utf-8").splitlines()) for one in modules}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > 400} == {}


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


def test_production_installs_nothing_that_only_tests_and_the_local_inbox_need() -> None:
    pins = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert not {"aiosmtpd", "pytest", "mypy", "ruff", "mkdocs", "uv", "hatchling"} & set(pins)


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("requirements.lock", lambda p: p["project"]["dependencies"]),
        (
            "requirements-dev.lock",
            lambda p: [
                *p["project"]["dependencies"],
                *p["project"]["optional-dependencies"]["local"],
                *p["dependency-groups"]["dev"],
                *p["dependency-groups"]["docs"],
            ],
        ),
    ],
)
def test_a_lock_holds_what_pyproject_asks_for(
    lock: str, asked: Callable[[dict[str, Any]], list[str]]
) -> None:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / lock).read_text(), flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[\[<>=!~; ]", one)[0].lower() for one in asked(project)}
    assert names <= {pin.lower() for pin in pins}


@cache
def _tests() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "node_modules" not in path.parts
    }


def test_every_fixture_says_what_it_gives() -> None:
    silent = [
        f"{file}:{one.lineno}"
        for file, tree in _tests().items()
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef)
        and any(ast.unparse(by).startswith("pytest.fixture") for by in one.decorator_list)
        and not ast.get_docstring(one)
    ]
    assert silent == []


def test_no_parameter_of_a_test_may_be_anything() -> None:
    """mypy would check nothing of what is done with it."""
    loose = [
        f"{file}:{one.lineno}"
        for file, tree in _tests().items()
        for one in ast.walk(tree)
        if isinstance(one, ast.arg)
        and one.annotation is not None
        and ast.unparse(one.annotation) == "Any"
    ]
    assert loose == []


def _functions(tree: ast.Module) -> dict[str, set[str]]:
    """Return the functions of a module, each with the names that it calls."""
    return {
        one.name: {
            call.func.id
            for call in ast.walk(one)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        }
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef)
    }


def test_whatever_starts_a_server_or_a_browser_is_a_fixture_with_a_tier() -> None:
    """Else `make test-fast` would start it too."""
    harnesses = {"prefect_test_harness", "prefect_harness"}
    starts = {"prefect_server", "prefect_worker", "sync_playwright", *harnesses}
    starting = {
        name
        for tree in _tests().values()
        for name, calls in _functions(tree).items()
        if calls & starts
    }
    (tiers,) = [
        ast.literal_eval(one.value)
        for one in _tests()["tests/conftest.py"].body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "TIERS"
    ]
    assert {"operator", "prefect_server", "world", "browser"} <= starting
    assert starting <= tiers.keys() | harnesses

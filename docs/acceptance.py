"""Make acceptance.md: which test holds which promise of the reference, and which are left.

The ids are read in the docstrings of the tests, the lines in acceptance.toml.
"""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "acceptance.md"
_ID = re.compile(r"\bA-\d+\b")


@dataclass(frozen=True)
class Test:
    """A test that names lines in its docstring."""

    file: str
    name: str
    ids: frozenset[str]


@dataclass(frozen=True)
class Line:
    """One promise, and what becomes of it here."""

    id: str
    statement: str
    tests: Sequence[Test]
    not_applicable: str | None
    open: str | None

    @property
    def state(self) -> str:
        """Return one of the four words of the page."""
        if self.not_applicable:
            return "does not apply"
        if self.open:
            return "partly" if self.tests else "open"
        return "covered"


class AcceptanceError(Exception):
    """Data and tests do not fit together."""


def read_tests(root: Path) -> list[Test]:
    """Find the tests that name lines, without importing them."""
    found = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[:5] == "test_"
            ):
                ids = frozenset(_ID.findall(ast.get_docstring(node) or ""))
                if ids:
                    file = path.relative_to(root).as_posix()
                    found.append(Test(file, node.name, ids))
    return found


def read_data(root: Path) -> dict[str, Any]:
    """Read acceptance.toml."""
    return tomllib.loads((root / "docs" / "acceptance.toml").read_text(encoding="utf-8"))


def join(data: Mapping[str, Any], tests: Iterable[Test]) -> dict[str, list[Line]]:
    """Return the lines of each section; raises AcceptanceError that names every fault."""
    by_id: defaultdict[str, list[Test]] = defaultdict(list)
    for test in tests:
        for line in test.ids:
            by_id[line].append(test)
    away, missing = data["not_applicable"], data["open"]
    sections = {
        section["title"]: [
            Line(line, statement, by_id[line], away.get(line), missing.get(line))
            for line, statement in section["lines"].items()
        ]
        for section in data["section"]
    }
    faults = list(_faults(sections, by_id, {*away, *missing}))
    if faults:
        raise AcceptanceError("\n".join(faults))
    return sections


def _faults(
    sections: Mapping[str, Sequence[Line]], by_id: Mapping[str, Sequence[Test]], marked: set[str]
) -> Iterator[str]:
    lines = [line for section in sections.values() for line in section]
    known = {line.id for line in lines}
    for line in sorted(marked - known):
        yield f"{line} is marked, and is no line"
    for line, tests in sorted(by_id.items()):
        if line not in known:
            yield f"{line} is no line, and {tests[0].file}::{tests[0].name} names it"
    for line in lines:
        if line.not_applicable and (line.tests or line.open):
            yield f"{line.id} is marked as not applicable, and is tested or open"
        if not (line.tests or line.not_applicable or line.open):
            yield f"{line.id} is neither tested nor marked: do one of the two (acceptance.toml)"


def render(sections: Mapping[str, Sequence[Line]]) -> str:
    """Return the page."""
    lines = [line for section in sections.values() for line in section]
    states = [line.state for line in lines]
    counts = ", ".join(
        f"{states.count(state)} {word}"
        for state, word in (
            ("covered", "are covered"),
            ("partly", "are covered in part"),
            ("open", "are open"),
            ("does not apply", "do not apply"),
        )
    )
    parts = [
        "# Acceptance",
        "",
        "What the reference's own tests promise, and which of our tests hold the same. Made by",
        "`make acceptance` from the ids in the tests' docstrings and from `acceptance.toml`;",
        "a test fails where this page is stale, or where a line is neither tested nor marked.",
        "",
        f"Of {len(lines)} lines {counts}.",
    ]
    for title, section in sections.items():
        parts += ["", f"## {title}", "", "| Line | Promise | Here |", "|---|---|---|"]
        parts += [f"| {line.id} | {line.statement} | {_here(line)} |" for line in section]
    return "\n".join(parts) + "\n"


def _here(line: Line) -> str:
    if line.not_applicable:
        return f"*Does not apply.* {line.not_applicable}"
    tests = [
        f"[{test.name.removeprefix('test_').replace('_', ' ')}](../{test.file})"
        for test in line.tests
    ]
    missing = [f"**Open:** {line.open}"] if line.open else []
    return "<br>".join([*tests, *missing])


if __name__ == "__main__":
    PAGE.write_text(render(join(read_data(ROOT), read_tests(ROOT))), encoding="utf-8")

"""Every rule that the code quotes is explained: in docs/rules.md, the promises in acceptance.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_QUOTED = re.compile(r"\b[ABIMRSTVW]-\d{1,3}\b")
SOURCES = sorted(
    path
    for folder in ("flows", "tasks", "relocation", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)


def _explained(page: str) -> set[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return set(re.findall(r"^\| ([A-Z]-\d+) \|", text, flags=re.MULTILINE))


EXPLAINED = _explained("rules.md") | _explained("acceptance.md")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_rule_that_a_module_quotes_is_explained(source: Path) -> None:
    assert set(_QUOTED.findall(source.read_text(encoding="utf-8"))) <= EXPLAINED


def test_no_rule_is_explained_that_nothing_quotes() -> None:
    quoted = {
        rule for source in SOURCES for rule in _QUOTED.findall(source.read_text(encoding="utf-8"))
    }
    assert _explained("rules.md") <= quoted


def test_no_rule_is_explained_twice() -> None:
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    ids = re.findall(r"^\| ([A-Z]-\d+) \|", text, flags=re.MULTILINE)
    assert len(ids) == len(set(ids))

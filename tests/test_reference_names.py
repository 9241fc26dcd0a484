"""Who knows the reference finds what takes the place of its functions: by a table, and by name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = [
    "retry_task_or_fail_relocation",
    "fail_relocation",
    "send_relocation_update_email",
    "send_async",
    "get_built_messages",
    "build",
    "render_html_body",
    "inline_css",
]
ROWS = {
    cells[1].strip(" `"): cells[3]
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    if (cells := line.split("|")) and len(cells) == 5
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_reference_stands_in_the_docstring_of_what_takes_its_place(name: str) -> None:
    """That is a function of a module which the name's row of the table names."""
    modules = re.findall(r"`((?:relocation|tasks)/[\w/]+\.py)`", ROWS[name])
    quoted = {
        node.name
        for module in modules
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and f"`{name}`" in (ast.get_docstring(node) or "")
    }
    assert quoted
    assert any(f"`{function}`" in ROWS[name] for function in quoted)


def test_readme_links_the_table() -> None:
    heading = "## From the reference's call chain to ours"
    assert heading in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    link = "docs/architecture.md#from-the-references-call-chain-to-ours"
    assert link in (ROOT / "README.md").read_text(encoding="utf-8")

"""The mail goes through yagmail, and our code through nothing below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for folder in ("flows", "tasks", "relocation") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_smtplib(module: Path) -> None:
    imported: set[str | None] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert not imported & {"smtplib", "aiosmtplib"}


def test_the_modules_that_send_are_among_those_looked_at() -> None:
    assert ROOT / "relocation/delivery/smtp.py" in MODULES

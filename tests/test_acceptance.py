"""docs/acceptance.md says what is tested, and nothing else."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def acceptance() -> ModuleType:
    """The script that makes the page."""
    spec = importlib.util.spec_from_file_location("acceptance", ROOT / "docs" / "acceptance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["acceptance"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data() -> dict[str, Any]:
    """Two lines, one of them marked."""
    return {
        "section": [{"title": "All", "lines": {"A-1": "One.", "A-2": "Two."}}],
        "not_applicable": {"A-2": "Because."},
        "open": {},
    }


def test_the_page_is_what_the_tests_and_the_data_say(acceptance: ModuleType) -> None:
    """Where this fails: `make acceptance`."""
    page = acceptance.render(
        acceptance.join(acceptance.read_data(ROOT), acceptance.read_tests(ROOT))
    )
    assert acceptance.PAGE.read_text(encoding="utf-8") == page


def test_ids_are_read_in_the_docstrings_of_tests_alone(
    acceptance: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "deep" / "test_x.py").write_text(
        '"""A-1"""\n'
        "import does_not_exist\n"
        'def helper():\n    """A-2"""\n'
        'def test_a():\n    """(A-3, A-44): SHA-256."""\n'
        'class TestB:\n    async def test_b(self):\n        """A-5"""\n'
        "def test_c():\n    # A-6\n    pass\n"
    )
    found = [(test.name, test.ids) for test in acceptance.read_tests(tmp_path)]
    assert sorted(found) == [("test_a", {"A-3", "A-44"}), ("test_b", {"A-5"})]


def test_a_line_that_is_neither_tested_nor_marked_is_a_fault(
    acceptance: ModuleType, data: dict[str, Any]
) -> None:
    with pytest.raises(acceptance.AcceptanceError, match="A-1 is neither tested nor marked"):
        acceptance.join(data, [])


@pytest.mark.parametrize(
    ("ids", "marks", "fault"),
    [
        ({"A-1", "A-3"}, {}, "A-3 is no line, and tests/x.py::test_x names it"),
        ({"A-1", "A-2"}, {}, "A-2 is marked as not applicable, and is tested or open"),
        ({"A-1"}, {"A-2": "all"}, "A-2 is marked as not applicable, and is tested or open"),
        ({"A-1"}, {"A-9": "all"}, "A-9 is marked, and is no line"),
    ],
)
def test_what_does_not_fit_together_is_a_fault(
    acceptance: ModuleType, data: dict[str, Any], ids: set[str], marks: dict[str, str], fault: str
) -> None:
    tests = [acceptance.Test("tests/x.py", "test_x", frozenset(ids))]
    with pytest.raises(acceptance.AcceptanceError, match=fault):
        acceptance.join({**data, "open": marks}, tests)


def test_a_line_may_be_covered_in_part(acceptance: ModuleType, data: dict[str, Any]) -> None:
    tests = [acceptance.Test("tests/x.py", "test_it_works", frozenset({"A-1"}))]
    page = acceptance.render(acceptance.join({**data, "open": {"A-1": "the rest"}}, tests))
    assert "| A-1 | One. | [it works](../tests/x.py)<br>**Open:** the rest |" in page
    assert "1 are covered in part" in page
    assert "| A-2 | Two. | *Does not apply.* Because. |" in page

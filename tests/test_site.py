"""The documentation is a site that builds, and what it shows and quotes is so."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PICTURE = runpy.run_path(str(DOCS / "picture.py"))
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SAID = [
    *(path for path in (ROOT / "relocation").rglob("*.py")),
    *(path for path in (ROOT / "tasks").rglob("*.py")),
    *(path for path in (ROOT / "templates").rglob("*.txt")),
    ROOT / "automations.yaml",
]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, and every link and anchor leads somewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index", "contributing", "tutorial/index", "architecture/index"):
        assert list((tmp_path / "site").rglob(f"{page.partition('/')[0]}*")), page
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'src="pictures/run.png"' in home
    assert "fonts.googleapis" not in home


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_of_a_page_is_there_and_small(page: Path) -> None:
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert 0 < (page.parent / name).stat().st_size < 150_000, name


def test_the_picture_of_the_architecture_is_drawn_from_its_text_as_it_is() -> None:
    """Else: `make picture`."""
    drawn = (DOCS / "pictures" / "architecture.svg").read_text(encoding="utf-8")
    assert PICTURE["mark"]() in drawn


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is missing: make test-tools")
def test_the_picture_can_be_drawn_again() -> None:
    for place in ("prefect_api/", "ledger/", "catalogue/"):
        assert place in PICTURE["draw"]()


def test_the_picture_shows_the_rooms_that_there_are() -> None:
    shown = set(re.findall(r'label="(\w+)/', (DOCS / "architecture.dot").read_text()))
    rooms = {path.parent.name for path in (ROOT / "relocation").glob("*/__init__.py")}
    assert shown - {"flows", "tasks"} == rooms - {"example"}


def _sentence_parts(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [part for one in re.findall(r'"([^"\n]{8,})"', text) for part in one.split(" ...")]


@pytest.mark.parametrize("part", [one for one in _sentence_parts("troubleshooting.md") if one])
def test_a_message_in_troubleshooting_is_one_that_is_said(part: str) -> None:
    said = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in SAID)
    joined = re.sub(r'"\s+f?"', "", said)  # literals that stand beside each other
    assert part in joined

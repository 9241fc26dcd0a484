"""Every setting of Prefect's that the docs name is one that the installed Prefect has."""

import re
from pathlib import Path

import prefect
import pytest
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"\bPREFECT_[A-Z_]+\b")
# The key of the blocks is no setting, but read from the environment where it is used.
_ENCRYPTION = Path(prefect.__file__).parent / "server" / "utilities" / "encryption.py"
KNOWN = _get_settings_fields(Settings).keys() | set(_NAME.findall(_ENCRYPTION.read_text()))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    named = set(_NAME.findall(page.read_text(encoding="utf-8")))
    assert sorted(named - KNOWN) == []


def test_the_page_on_scaling_names_settings_at_all() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" in text

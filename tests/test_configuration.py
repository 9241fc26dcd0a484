"""docs/configuration.md lists what can be configured, and nothing else."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from relocation.prefect_api.blocks import MailServer
from relocation.settings import Settings
from relocation.steps import Task

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def configuration() -> ModuleType:
    """The script that makes the page."""
    spec = importlib.util.spec_from_file_location("configuration", DOCS / "configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(configuration: ModuleType) -> None:
    """Where this fails: `make configuration`."""
    assert configuration.PAGE.read_text(encoding="utf-8") == configuration.render()


def test_the_page_describes_every_setting_task_and_field(configuration: ModuleType) -> None:
    rows = re.findall(r"^\| (.*) \|$", configuration.render(), flags=re.MULTILINE)
    described = {
        re.sub("`", "", cells[0]): cells[-1] for cells in (row.split(" | ") for row in rows)
    }
    for name in Settings.model_fields:
        assert described[f"RELOCATION_{name.upper()}"].strip(), name
    assert set(Task) <= described.keys()
    fields = {cells[1] for cells in (row.split(" | ") for row in rows) if cells[0] == "`mail`"}
    assert fields == {f"`{name}`" for name in MailServer.model_fields}


def test_a_secret_of_a_block_is_called_one(configuration: ModuleType) -> None:
    page = configuration.render()
    (password,) = re.findall(r"^\| `mail` \| `password` .*$", page, re.MULTILINE)
    (host,) = re.findall(r"^\| `mail` \| `host` .*$", page, re.MULTILINE)
    assert "*Secret.*" in password
    assert "*Secret.*" not in host

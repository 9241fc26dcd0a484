"""Settings come from the environment and are documented."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from relocation.settings import Settings
from relocation.steps import POLICIES, Task

EXAMPLE = Path(__file__).parents[1] / ".env.example"


def documented() -> dict[str, str]:
    lines = EXAMPLE.read_text().splitlines()
    pairs = [line.removeprefix("# ") for line in lines if line.startswith("# RELOCATION_")]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(exclude_none=True)
        as_json = isinstance(default, (dict, bool))
        text = "" if default is None else json.dumps(default) if as_json else str(default)
        expected[f"RELOCATION_{name.upper()}"] = text
    assert documented() == expected


def test_the_numbers_of_a_task_can_be_overridden_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RELOCATION_TASKS", '{"validate": {"tries": 2}}')
    policy = Settings().policy(Task.VALIDATE)
    assert policy.tries == 2
    assert policy.time_limit == POLICIES[Task.VALIDATE].time_limit
    assert Settings().policy(Task.COMPLETE) == POLICIES[Task.COMPLETE]


def test_a_setting_that_is_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELOCATION_TASKS", '{"validate": {"tries": 0}}')
    with pytest.raises(ValueError, match="tries"):
        Settings()

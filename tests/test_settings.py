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


def test_the_settings_of_another_process_owe_nothing_to_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RELOCATION_BACKOFF", "7")
    theirs = Settings.of_environment({"RELOCATION_INSTALLATION": "east", "PATH": "/bin"})
    assert theirs.backoff == Settings.model_fields["backoff"].default
    assert theirs.model_fields_set == {"installation"}
    assert theirs.ledger_block == "relocation-ledger-east"


@pytest.mark.parametrize("name", ["East", "a_b", "-a", "a-", "a--b", "a/b", "a" * 41, "ä"])
def test_a_name_of_an_installation_that_prefect_could_not_take_everywhere_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_INSTALLATION", name)
    with pytest.raises(ValueError, match="installation"):
        Settings()


def test_an_installation_has_blocks_and_a_home_of_its_own_unless_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RELOCATION_HOME", raising=False)
    plain = Settings()
    monkeypatch.setenv("RELOCATION_INSTALLATION", "east-1")
    monkeypatch.setenv("RELOCATION_KEY_BLOCK", "relocation-key")
    named = Settings()
    assert named.key_block == plain.key_block == "relocation-key"
    for field in ("home", "ledger_block", "destination_block", "storage_block", "alert_block"):
        assert str(getattr(named, field)) == f"{getattr(plain, field)}-east-1"

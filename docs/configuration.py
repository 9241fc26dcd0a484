"""Make configuration.md: every setting, every block and every number of a task, from the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from pydantic import BaseModel, SecretStr

from relocation.prefect_api.blocks import MailServer
from relocation.prefect_api.storage import RemoteStorage
from relocation.settings import DailyLimits, PolicyOverride, Settings
from relocation.steps import POLICIES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"


def render() -> str:
    """Return the page."""
    return "\n".join([*_settings(), *_tasks(), *_blocks()]) + "\n"


def _settings() -> Iterator[str]:
    yield from (
        "# Configuration",
        "",
        "Made by `make configuration` from the code; a test fails where this page is stale.",
        "",
        "## Settings",
        "",
        "From the environment, or from a file `.env` in the folder of the process. They are read",
        "when a task runs: what you change takes effect at the next one. No secret and no",
        "connection is among them; those are in the [blocks](#blocks).",
        "",
        "| Variable | Default | What |",
        "|---|---|---|",
    )
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(exclude_none=True)
        yield _row(f"`RELOCATION_{name.upper()}`", _value(default), field.description)
    yield from (
        "",
        "Parts of `RELOCATION_DAILY_LIMITS` and, for each task, of `RELOCATION_TASKS`:",
        "",
    )
    yield from ("| Part | Default | What |", "|---|---|---|")
    for model in (DailyLimits, PolicyOverride):
        for name, field in model.model_fields.items():
            yield _row(f"`{name}`", _value(field.default), field.description)


def _tasks() -> Iterator[str]:
    yield from (
        "",
        "## Tasks",
        "",
        "| Task | Step | Tries | Seconds one try may take |",
        "|---|---|---|---|",
    )
    for task, policy in POLICIES.items():
        yield _row(f"`{task}`", policy.step.name, policy.tries, f"{policy.time_limit:g}")


def _blocks() -> Iterator[str]:
    yield from (
        "",
        "## Blocks",
        "",
        "The fields of a file for `relocation setup --blocks FILE`, by the word that it uses for",
        "the block. `${NAME}` in a value is a variable of the environment. A storage, and what",
        "alerts go to, have the fields of the block type that their setting names.",
        "",
        "| Block | Field | Default | What |",
        "|---|---|---|---|",
        "| `ledger`, `destination` | `url` | needed | URL of SQLAlchemy; its password is hidden |",
        "| `source` | `url` | needed | the same, of a live database; there need be none |",
        "| `storage` | `basepath` | needed | of `local-file-system`: the folder |",
        "| `storage` | `bucket_name`, `bucket_folder`, `credentials` | | of `s3-bucket` |",
        "| `storage` | `bucket`, `bucket_folder`, `gcp_credentials` | | of `gcs-bucket` |",
        "| `storage` | `container_name`, `base_folder`, `credentials` | | of "
        "`azure-blob-storage-container` |",
    )
    yield from _fields("storage", RemoteStorage, f"of `{RemoteStorage.get_block_type_slug()}`: ")
    yield from (
        "| `key` | `value` | needed | the private key, PEM |",
        "| `alerts` | `url` | needed | of `slack-webhook`: a webhook, or any address of Apprise |",
    )
    yield from _fields("mail", MailServer)


def _fields(role: str, kind: type[Block], of: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if name.startswith("_"):
            continue
        annotations = getattr(field.annotation, "__args__", (field.annotation,))
        secret = any(one in (SecretStr, SecretDict) for one in annotations)
        what = f"{of}{field.description or ''}{' *Secret.*' if secret else ''}".strip()
        default = "needed" if field.is_required() else "" if secret else _value(field.default)
        yield _row(f"`{role}`", f"`{name}`", default, what)


def _value(value: Any) -> str:
    if value is None or value in ("", {}):
        return ""
    as_json = isinstance(value, (dict, bool))
    return f"`{json.dumps(value) if as_json else value}`"


def _row(*cells: Any) -> str:
    def plain(cell: Any) -> str:
        return re.sub(r"\s+", " ", str(cell if cell is not None else "")).replace("|", "\\|")

    return f"| {' | '.join(map(plain, cells))} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")

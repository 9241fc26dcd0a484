"""Read a file that says what the blocks hold, with its secrets from the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from relocation.errors import ConfigurationError

ROLES = ("ledger", "destination", "source", "storage", "mail", "key", "alerts")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def read_block_file(
    path: Path, environment: Mapping[str, str] = os.environ
) -> dict[str, dict[str, Any]]:
    """Return the fields of each block that the file describes, by the block's role.

    `${NAME}` stands for a variable of the environment. Raises ConfigurationError, which names no
    value, where the file is none of ours or a variable is not set.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise bad_file(f"{path} cannot be read") from err
    except yaml.YAMLError as err:
        # Its own message quotes the line, and a secret may stand there.
        line = getattr(getattr(err, "problem_mark", None), "line", 0) + 1
        raise bad_file(f"{path} is not valid YAML, at line {line}") from err
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise bad_file(f"{path} is not a mapping of blocks to their fields")
    unknown = [str(role) for role in content if role not in ROLES]
    if unknown:
        raise bad_file(f"there is no block {', '.join(unknown)}; there are {', '.join(ROLES)}")
    missing: set[str] = set()
    filled = {role: _fill(fields, environment, missing) for role, fields in content.items()}
    if missing:
        raise bad_file(f"not set in the environment: {', '.join(sorted(missing))}")
    return filled


def bad_file(what: str) -> ConfigurationError:
    """Return the error of a file that cannot be used."""
    return ConfigurationError(
        "The blocks file can't be used.", internal=f"file of the blocks: {what}"
    )


def _fill(value: Any, environment: Mapping[str, str], missing: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(one, environment, missing) for name, one in value.items()}
    if isinstance(value, list):
        return [_fill(one, environment, missing) for one in value]
    if not isinstance(value, str):
        return value
    missing |= {name for name in _VARIABLE.findall(value) if name not in environment}
    return _VARIABLE.sub(lambda found: environment.get(found[1], ""), value)

"""A plan that an operator edits: who becomes which account, and which slug becomes which."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from relocation.errors import RequestError
from relocation.text import one_line

COLUMNS = ("kind", "name", "becomes", "status", "candidate", "note")
_USER, _ORGANIZATION = "user", "organization"


class Plan(BaseModel):
    """What of an import is not to be as it would be by itself."""

    model_config = ConfigDict(title="Plan", frozen=True)

    users: dict[str, int] = Field(
        default_factory=dict,
        title="Users",
        description="By username in the export: the id of the account in the destination that "
        "the user becomes. It gets the memberships and stays as it is otherwise.",
        examples=[{"olivia": 42}],
    )
    slugs: dict[str, str] = Field(
        default_factory=dict,
        title="Slugs",
        description="By slug in the export: the slug that the organization gets.",
        examples=[{"acme": "acme-eu"}],
    )


def read_plan(path: Path) -> Plan:
    """Read an edited plan; rows that say nothing under `becomes` change nothing.

    Raises RequestError that names the line.
    """
    users: dict[str, int] = {}
    slugs: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in _rows(csv.DictReader(file)):
            name, becomes = row["name"], row["becomes"].strip()
            if not becomes:
                continue
            if row["kind"] == _USER:
                if name in users or not (becomes.isascii() and becomes.isdecimal()):
                    raise _bad(line, "a user must become an account: its id in the destination")
                users[name] = int(becomes)
            elif row["kind"] == _ORGANIZATION:
                if name in slugs:
                    raise _bad(line, "the organization is listed twice")
                slugs[name] = becomes
            else:
                raise _bad(line, f"unknown kind {one_line(row['kind'], limit=40)}")
    return Plan(users=users, slugs=slugs)


def write_plan(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the proposal for a plan; names stay as they are, to be found again."""
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _rows(reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    if not {"kind", "name", "becomes"} <= set(reader.fieldnames or ()):
        raise _bad(1, "a plan needs the columns kind, name and becomes")
    for row in reader:
        yield reader.line_num, {name: value or "" for name, value in row.items() if name}


def _bad(line: int, what: str) -> RequestError:
    return RequestError(f"Line {line} of the plan can't be used: {what}.")

"""How commands print: tables for people, JSON for scripts, errors on one line."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocation.errors import RelocationError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_json(data: Any) -> None:
    """Print data as indented JSON; dates as text."""
    sys.stdout.write(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; where it is not read on a terminal, nothing is cut."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(table, soft_wrap=not out.is_terminal)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with exit code 1 and one line of text where a command cannot be carried out."""
    try:
        yield
    except RelocationError as err:
        errors.print(f"[red]error:[/red] {err.internal or err.reason}", soft_wrap=True)
        raise typer.Exit(1) from err

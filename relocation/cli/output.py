"""How commands print: tables for people, JSON for scripts, errors on one line."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from relocation.errors import MAX_REASON, RelocationError
from relocation.text import one_line

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_ENDLESS = 100_000
"""Columns of what is no terminal: a file, a pipe."""


def print_json(data: Any) -> None:
    """Print data as indented JSON; dates as text."""
    sys.stdout.write(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; where it is not read on a terminal, nothing is cut."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # What a request says is anybody's text: it must not be read as markup.
        cells = ("" if cell is None else one_line(str(cell), limit=MAX_REASON) for cell in row)
        table.add_row(*map(escape, cells))
    console = out if out.is_terminal else Console(width=_ENDLESS, highlight=False)
    console.print(table)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with exit code 1 and one line of text where a command cannot be carried out."""
    try:
        yield
    except RelocationError as err:
        fail(err.internal or err.reason, err)
    except (OSError, httpx.HTTPError, SQLAlchemyError, ValueError) as err:
        fail(f"{type(err).__name__}: {err}", err)


@contextmanager
def counting(doing: str, done: str) -> Iterator[Callable[[str, int], None]]:
    """Show on a terminal that work goes on; called with a model and records just done."""
    records = 0
    if not errors.is_terminal:
        yield lambda _model, _records: None
        return
    with errors.status(f"{escape(doing)} ...") as status:

        def show(_model: str, more: int) -> None:
            nonlocal records
            records += more
            status.update(f"{escape(done)}: {records} records ...")

        yield show


def fail(message: str, cause: Exception | None = None, *, code: int = 1) -> NoReturn:
    """End with the exit code and one line."""
    errors.print(f"error: {one_line(message, limit=MAX_REASON)}", markup=False, soft_wrap=True)
    raise typer.Exit(code) from cause

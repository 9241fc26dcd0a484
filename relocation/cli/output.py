"""How commands print: tables for people, JSON for scripts, errors on one line."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Verbose:
    """How much a command tells."""

    debug: bool = False


VERBOSE = Verbose()
"""As the options before the command say."""

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

ADDRESS = "PREFECT_API_URL"
TO_START = (
    "Start everything on this machine with: relocation up. Or name a server: "
    f"export {ADDRESS}=http://HOST:4200/api"
)

_WIDEST = 40
"""Characters to which a column of a pipe is filled up; longer texts stay whole."""
_COMMAND = re.compile(r"relocation (list|show|setup|submit|up|scan|claims|keys)\b|prefect flow-run")
_PREFECT = re.compile(r"[/\\\\]site-packages[/\\\\]prefect[/\\\\]")


def print_json(data: Any) -> None:
    """Print data as indented JSON; dates as text."""
    sys.stdout.write(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, whole: Collection[str] = ("id",)
) -> None:
    """Print a table; the columns named `whole` are never folded, and in a pipe nothing is.

    A terminal is shown no column that is empty.
    """
    # What a request says is anybody's text: it must not be read as markup.
    texts = [
        ["" if cell is None else one_line(str(cell), limit=MAX_REASON) for cell in row]
        for row in rows
    ]
    if not out.is_terminal:
        _print_plain([list(columns), *texts])
        return
    filled = [place for place in range(len(columns)) if any(row[place] for row in texts)]
    table = Table(box=None, pad_edge=False)
    for place in filled:
        column = columns[place]
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in texts:
        table.add_row(*(escape(row[place]) for place in filled))
    out.print(table)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    """Print lines for a pipe: as narrow as what they hold, without what only a terminal shows."""
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print("  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a sentence, wrapped between words on a terminal, and on one line elsewhere."""
    out.print(text, markup=False, soft_wrap=not out.is_terminal)


def without_frames_of_prefect(text: str) -> str:
    """Return a traceback without the frames of Prefect: they say nothing of the fault."""
    kept, hidden = [], False
    for line in text.splitlines():
        if line.startswith('  File "'):
            hidden = bool(_PREFECT.search(line))
        elif not line.startswith("    "):
            hidden = False
        if not hidden:
            kept.append(line)
    return "\n".join(kept)


def no_answer(url: str) -> str:
    """Say that nothing answers at the address, and what to type."""
    return f"No Prefect server answers at {url}. {TO_START}"


@contextmanager
def plain_errors(then: str = "") -> Iterator[None]:
    """End with exit code 1 and one line of text where a command cannot be carried out.

    `then` is the command to type next, where the refusal itself names none.
    """
    try:
        yield
    except RelocationError as err:
        said = err.internal or err.reason
        fail(said if not then or _COMMAND.search(said) else f"{said} See more: {then}", err)
    except (httpx.ConnectError, httpx.ConnectTimeout) as err:
        fail(no_answer(os.environ.get(ADDRESS, "the address of your Prefect profile")), err)
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
    """End with the exit code and one line; with --debug also with how it came to that."""
    if cause is not None and VERBOSE.debug:
        traceback.print_exception(cause)
    said = f"error: {one_line(message, limit=MAX_REASON)}"
    errors.print(said, markup=False, soft_wrap=not errors.is_terminal)
    raise typer.Exit(code) from cause

"""Follow a relocation to its end."""

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from relocation.cli.output import errors
from relocation.recovery.runs import ENDS
from relocation.steps import Status, Task

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from relocation.model import Relocation

POLL_SECONDS = 0.5
_PROGRESS_SECONDS = 2.0
_LINE_SECONDS = 60.0
_IMPORTING = (Task.VALIDATE, Task.IMPORT_ORGANIZATIONS)
"""The tasks that tell how far they are."""


def follow(ledger: "Engine", relocation_id: str) -> "Relocation | None":
    """Show where the relocation is until it has ended; return it as it is then.

    A bar on a terminal, else a line for each new task, and for each minute of an import; both on
    standard error. Returns None where neither the ledger nor the Prefect server knows it.
    """
    from relocation.ledger.relocations import find_relocation  # noqa: PLC0415
    from relocation.prefect_api.flow_runs import FlowRuns  # noqa: PLC0415 - imports Prefect: seconds

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    said, said_at = "", time.monotonic()
    importing = _Importing(relocation_id)
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(Task))
        while True:
            one = find_relocation(ledger, relocation_id)
            where, how_far = _where(one), importing.how_far(one)
            now = time.monotonic()
            line = f"{where}, {how_far}" if how_far else where
            progress.update(bar, description=line, completed=_done(one))
            if where != said or (how_far and now >= said_at + _LINE_SECONDS):
                if not errors.is_terminal:
                    errors.print(line, markup=False, soft_wrap=True)
                said, said_at = where, now
            if one is None or not one.is_open:
                # Its run may be about to begin it, or to begin it again.
                run = FlowRuns().read([relocation_id]).get(relocation_id)
                if run is None or run.state in ENDS:
                    return one
            time.sleep(POLL_SECONDS)


class _Importing:
    """How far an import is, asked for every two seconds."""

    def __init__(self, relocation_id: str) -> None:
        self._id = relocation_id
        self._due = 0.0
        self._said: str | None = None

    def how_far(self, one: "Relocation | None") -> str | None:
        """Return it in words; None where the relocation does not import."""
        from relocation.prefect_api.artifacts import progress_of  # noqa: PLC0415

        if one is None or one.status is not Status.IN_PROGRESS or one.task not in _IMPORTING:
            return None
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PROGRESS_SECONDS
            self._said = progress_of(self._id)
        return self._said


def _where(one: "Relocation | None") -> str:
    if one is None:
        return "waiting for a worker"
    if one.status is not Status.IN_PROGRESS:
        return f"{one.status} in {one.step.name}"
    return f"{one.step.name}: {one.task or 'begins'}"


def _done(one: "Relocation | None") -> int:
    """Return how many tasks lie behind it."""
    if one is None or one.task is None:
        return 0
    return len(Task) if one.status is Status.SUCCESS else list(Task).index(one.task)

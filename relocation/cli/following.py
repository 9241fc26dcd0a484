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


def follow(ledger: "Engine", relocation_id: str) -> "Relocation | None":
    """Show where the relocation is until it has ended; return it as it is then.

    A bar on a terminal, else a line for each new task; both on standard error. Returns None where
    neither the ledger nor the Prefect server knows it.
    """
    from relocation.ledger.relocations import find_relocation  # noqa: PLC0415
    from relocation.prefect_api.flow_runs import FlowRuns  # noqa: PLC0415 - imports Prefect: seconds

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    said = ""
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
            where = _where(one)
            progress.update(bar, description=where, completed=_done(one))
            if where != said and not errors.is_terminal:
                errors.print(where, markup=False)
            said = where
            if one is None or not one.is_open:
                # Its run may be about to begin it, or to begin it again.
                run = FlowRuns().read([relocation_id]).get(relocation_id)
                if run is None or run.state in ENDS:
                    return one
            time.sleep(POLL_SECONDS)


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

"""How soon a killed relocation goes on, and what one more relocation costs on two workers."""

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import select

from benchmarks.soak_stage import ENVIRONMENT, SWEEP_SECONDS, Requests, Stage, set_stage
from benchmarks.soak_verdict import settled
from relocation.ledger.tables import events, relocations, task_tries
from relocation.steps import LifecycleEvent, Task

KILLS = int(os.environ.get("KILLS", "3"))
WAIT = 900.0


def main(home: Path, batch: int) -> None:
    """Measure both on one service, and print the tables."""
    with set_stage(home, 1) as stage:
        requests = Requests(stage, batch + 4 * KILLS, 1, flawed=False)
        for worker in stage.workers:
            worker.start()
        _one_more(stage, requests, batch)
        _deaths(stage, requests)


def _one_more(stage: Stage, requests: Requests, batch: int) -> None:
    """Print the seconds each relocation takes, of the first fifth and of the rest."""
    first = batch // 5
    began = time.time()
    while len(requests.asked) < batch:
        requests.ask()
    _until(lambda: len(settled(stage.ledger, requests.asked)) == batch)
    with stage.ledger.connect() as connection:
        times = select(relocations.c.settled_at).order_by(relocations.c.settled_at)
        ends = [began, *(at.timestamp() for at in connection.execute(times).scalars())]
    each = [b - a for a, b in pairwise(ends)]
    early, late = sum(each[:first]) / first, sum(each[first:]) / (batch - first)
    print(f"\n## Seconds a relocation, two workers, {batch} at once (target: within 20 %)\n")
    print("| relocations | s each |\n|---|---|")
    print(f"| 1 to {first} | {early:.1f} |\n| {first + 1} to {batch} | {late:.1f} |")
    print(f"| ratio | {late / early:.2f} |", flush=True)


def _deaths(stage: Stage, requests: Requests) -> None:
    """Print how long a killed relocation waits, for each way in which that is noticed."""
    lease = ENVIRONMENT["RELOCATION_LEASE_SECONDS"]
    bounds = f"lease of {lease} s, sweep every {SWEEP_SECONDS} s"
    print(f"\n## From SIGKILL to the resumption ({bounds})\n")
    print("| noticed by | s, median | s, slowest |\n|---|---|---|")
    ways: dict[str, Callable[[Stage, int], None]] = {
        "`handle-failure` (the flow run was killed)": _kill_run,
        "`sweep` (the worker and all its runs were killed)": _kill_machine,
    }
    for name, kill in ways.items():
        waits = []
        for _ in range(KILLS):
            requests.ask()
            relocation_id = requests.asked[-1].id
            worker = _until(lambda one=relocation_id: _importing(stage, one))  # type: ignore[misc]
            died = time.time()
            kill(stage, int(str(worker).rpartition(":")[2]))
            resumed = _until(lambda one=relocation_id: _taken_over(stage, one))  # type: ignore[misc]
            waits.append(resumed - died)
            _until(lambda: len(settled(stage.ledger, requests.asked)) == len(requests.asked))
        print(f"| {name} | {median(waits):.1f} | {max(waits):.1f} |", flush=True)


def _kill_run(stage: Stage, pid: int) -> None:
    for worker in stage.workers:
        for run in worker.flow_runs():
            if run.pid == pid:
                run.kill()


def _kill_machine(stage: Stage, pid: int) -> None:
    for worker in stage.workers:
        if pid in {run.pid for run in worker.flow_runs()}:
            worker.die()
            worker.start()


def _importing(stage: Stage, relocation_id: str) -> str | None:
    """Return the worker that tries the validation or the import, once one does."""
    late = (Task.VALIDATE, Task.IMPORT_ORGANIZATIONS)
    tried = select(task_tries.c.worker).where(
        task_tries.c.relocation_id == relocation_id, task_tries.c.task.in_(late)
    )
    with stage.ledger.connect() as connection:
        return connection.execute(tried.limit(1)).scalar_one_or_none()


def _taken_over(stage: Stage, relocation_id: str) -> float | None:
    taken = select(events.c.at).where(
        events.c.relocation_id == relocation_id, events.c.what == LifecycleEvent.TAKEN_OVER
    )
    with stage.ledger.connect() as connection:
        at = connection.execute(taken.limit(1)).scalar_one_or_none()
    return at.timestamp() if at else None


def _until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"did not come to hold within {WAIT} seconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

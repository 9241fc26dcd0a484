"""Relocate many times at once on machines that share nothing, one of which dies (`make machines`).

N is read from the environment. Ends with 1 where something that must hold does not. KEEP=1 keeps
the folder with the logs, and no machine dies with MEASURE=1: its costs would be in the figures.
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from benchmarks.debian_postgres import DebianPostgres
from benchmarks.machines_cost import Stock, Watch, take_stock
from benchmarks.machines_stage import Machine, set_stage
from benchmarks.soak_chaos import Death
from benchmarks.soak_operator import Operator
from benchmarks.soak_stage import Requests, Stage, deliver_the_rest, sweep_every
from benchmarks.soak_verdict import Line, row_counts, settled, verdict, why_good_ones_failed
from relocation.ledger.relocations import find_relocation
from relocation.ledger.tries import tries_of
from relocation.steps import Status, Task

SECONDS_EACH = 40
SECONDS_MORE = 480
SWEEP_SECONDS = 30
"""Between two sweeps, once a machine has died: else their cost would be in the figures."""
PROJECTS = 30
"""Of each organization: an import then takes long enough to be killed in."""


def main() -> int:
    """Run it; returns the exit code."""
    # Also when it is ended from outside, everything that it started ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count, measure = int(os.environ.get("N", "20")), "MEASURE" in os.environ
    memory = Path("/dev/shm")  # noqa: S108 - only processes die here: no disk has to be waited for
    home = Path(tempfile.mkdtemp(prefix="machines-", dir=memory if memory.is_dir() else None))
    try:
        return _run(home, count, measure=measure)
    finally:
        if "KEEP" in os.environ:
            print(f"Kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def _run(home: Path, count: int, *, measure: bool) -> int:
    print(f"{count} relocations at once, on two machines, in {home}", flush=True)
    # One place more than half of them: else a sweep has to wait for a relocation to end.
    with set_stage(home, at_once=(count + 1) // 2 + 1) as (stage, machines):
        requests = Requests(stage, count, seed=1, flawed=False, projects=PROJECTS)
        rows = row_counts(stage.destination)
        before = take_stock(stage, home / "storage")
        assert isinstance(stage.postgres, DebianPostgres)
        watch = Watch(stage.workers, stage.postgres.port)
        watch.start()
        while len(requests.asked) < count:
            requests.ask()
        for worker in stage.workers:
            worker.start()
        deadline = time.monotonic() + SECONDS_MORE + SECONDS_EACH * count
        ids = [one.id for one in requests.asked]
        deaths: list[Death] = []
        if not measure:
            _await_import(stage, watch, ids, deadline)
            deaths = [Death(run.pid, time.time()) for run in stage.workers[0].flow_runs()]
            stage.workers[0].die()
            shutil.rmtree(machines[0].folder)
            print("A machine has died, and its folder is gone", flush=True)
            sweep_every(SWEEP_SECONDS)
        while time.monotonic() < deadline and len(settled(stage.ledger, requests.asked)) < count:
            time.sleep(0.5)
        _await_idle(stage, deadline)
        after = take_stock(stage, home / "storage")
        watch.end()
        for worker in stage.workers:
            worker.die()
        deliver_the_rest(stage.ledger)
        lines = [
            *verdict(stage, requests.asked, rows, deaths, Operator(stage.ledger, Event())),
            *_who_did_what(stage, machines, watch, ids, one_died=not measure),
        ]
        reasons = why_good_ones_failed(stage.ledger, requests.asked)
    print("\n| what | count | must be |\n|---|---|---|")
    for line in lines:
        must = "" if line.must_be is None else line.must_be
        print(f"| {line.what} | {line.count} | {must}{'' if line.holds else ' **broken**'} |")
    print("\n".join(reasons))
    if measure:
        _show_costs(watch, before, after, count)
    return 0 if all(line.holds for line in lines) else 1


def _await_import(stage: Stage, watch: Watch, ids: Sequence[str], deadline: float) -> None:
    """Wait until the first machine is in the midst of an import."""
    while time.monotonic() < deadline:
        for one in ids:
            relocation = find_relocation(stage.ledger, one)
            if (
                relocation is not None
                and relocation.task is Task.IMPORT_ORGANIZATIONS
                and _machine_of(watch, tries_of(stage.ledger, one)[-1].worker) == 0
            ):
                return
        time.sleep(0.05)
    raise TimeoutError("the first machine began no import")


def _await_idle(stage: Stage, deadline: float) -> None:
    """Wait until all processes of flow runs have ended: those that send the notices come last."""
    while time.monotonic() < deadline and any(worker.flow_runs() for worker in stage.workers):
        time.sleep(0.5)


def _machine_of(watch: Watch, worker: str) -> int | None:
    """Return the number of the machine on which a process of the ledger's ran."""
    process = int(worker.rpartition(":")[2])
    return next((number for number, seen in enumerate(watch.seen) if process in seen), None)


def _who_did_what(
    stage: Stage, machines: Sequence[Machine], watch: Watch, ids: Sequence[str], *, one_died: bool
) -> list[Line]:
    paths = {
        one: [_machine_of(watch, t.worker) for t in tries_of(stage.ledger, one)] for one in ids
    }
    moved = sum(0 in path and path[-1] == 1 for path in paths.values())
    strange = sum(None in path for path in paths.values())
    elsewhere = sum(
        bool(seen.folder) and not Path(seen.folder).is_relative_to(machine.folder)
        for machine, runs in zip(machines, watch.seen, strict=True)
        for seen in runs.values()
    )
    succeeded = sum(
        relocation is not None and relocation.status is Status.SUCCESS
        for relocation in (find_relocation(stage.ledger, one) for one in ids)
    )
    lines = [Line("relocations that succeeded", succeeded, len(ids))]
    for number in range(len(machines)):
        began = sum(number in path for path in paths.values())
        lines.append(Line(f"machine {number} worked on none", int(began == 0), 0))
        lines.append(Line(f"relocations that machine {number} worked on", began))
    lines += [
        Line("tries of a process that no machine had", strange, 0),
        Line("flow runs outside of their machine's folder", elsewhere, 0),
        Line("flow runs at once, at most", watch.most_at_once),
        Line("relocations that went on on the other machine", moved),
    ]
    if one_died:
        lines.append(Line("none went on on the other machine", int(moved == 0), 0))
    return lines


def _show_costs(watch: Watch, before: Stock, after: Stock, count: int) -> None:
    runs = [seen for machine in watch.seen for seen in machine.values()]
    print(f"\n{len(runs)} flow runs, each a process:")
    for what in ("seconds", "megabytes", "connections"):
        values = [getattr(seen, what) for seen in runs]
        print(f"  {what}: median {statistics.median(values):.1f}, most {max(values):.1f}")
    print("\nFor each relocation, with what its sweeps, workers and waiting cost:")
    print(f"  seconds from the first to the last: {(after.at - before.at) / count:.1f}")
    spent = after.worker_seconds - before.worker_seconds
    print(f"  processor seconds of workers and what they start: {spent / count:.1f}")
    spent = after.server_seconds - before.server_seconds
    print(f"  processor seconds of the server: {spent / count:.1f}")
    print(f"  bytes that stay in the storage: {(after.stored - before.stored) / count:.0f}")
    for what in ("calls", "rows", "size"):
        grown = getattr(after, what) - getattr(before, what)
        print(f"  {what}:")
        for name, number in grown.most_common(30):
            print(f"    {number / count:10.1f} {name}")
        for part in ("/api", "prefect.", "ledger."):
            total = sum(number for name, number in grown.items() if name.startswith(part))
            if total:
                print(f"    {total / count:10.1f} in all of {part}*")


if __name__ == "__main__":
    sys.exit(main())

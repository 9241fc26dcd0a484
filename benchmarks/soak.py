"""Relocate many times while everything is killed in turn, then count what was lost (`make soak`).

N and SEED are read from the environment. Ends with 1 where something that must hold does not.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from benchmarks.soak_chaos import Chaos
from benchmarks.soak_stage import Requests, Stage, deliver_the_rest, set_stage
from benchmarks.soak_verdict import row_counts, settled, verdict, why_good_ones_failed

AHEAD = 5
"""Relocations that are asked for and have not ended, at most: fewer than there are places, so that
what died need not queue behind what is new."""
SECONDS_EACH = 60
"""In which each relocation must end, on the average."""
SECONDS_MORE = 600
"""In which what is left must end once nobody does harm any more."""
PAUSE = 15.0
"""Seconds between two harms, about."""


def main() -> int:
    """Run the soak; returns the exit code."""
    # Also when it is ended from outside, everything that it started ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count, seed = int(os.environ.get("N", "300")), int(os.environ.get("SEED", "1"))
    memory = Path("/dev/shm")  # noqa: S108 - only processes die here: no disk has to be waited for
    home = Path(tempfile.mkdtemp(prefix="soak-", dir=memory if memory.is_dir() else None))
    began = time.monotonic()
    print(f"Soak of {count} relocations, seed {seed}, in {home}", flush=True)
    with set_stage(home, seed) as stage:
        requests = Requests(stage, count, seed)
        before = row_counts(stage.destination)
        for worker in stage.workers:
            worker.start()
        chaos = Chaos(stage, seed, PAUSE)
        chaos.start()
        _ask(stage, requests, count, time.monotonic() + SECONDS_EACH * count)
        _await_end(stage, requests, time.monotonic() + SECONDS_EACH)
        chaos.calm()
        print("Nobody does harm any more", flush=True)
        _await_end(stage, requests, time.monotonic() + SECONDS_MORE)
        for worker in stage.workers:
            worker.kill(everything=True)
        deliver_the_rest(stage.ledger)
        lines = verdict(stage, requests.asked, before, chaos.deaths, chaos.operator)
        reasons = why_good_ones_failed(stage.ledger, requests.asked)
        print("\n| harm | times |\n|---|---|")
        for what, times in [*sorted(chaos.done.items()), *sorted(stage.peer.answers.items())]:
            print(f"| {what} | {times} |")
    print("\n| what | count | must be |\n|---|---|---|")
    for line in lines:
        must = "" if line.must_be is None else line.must_be
        print(f"| {line.what} | {line.count} | {must}{'' if line.holds else ' **broken**'} |")
    for reason in [*chaos.operator.broken, *reasons]:
        print(f"\n{reason}")
    minutes = (time.monotonic() - began) / 60
    print(f"\n{len(requests.asked)} relocations in {minutes:.1f} minutes")
    if all(line.holds for line in lines):
        shutil.rmtree(home, ignore_errors=True)
        return 0
    print(f"Kept, with its logs: {home}")
    return 1


def _ask(stage: Stage, requests: Requests, count: int, until: float) -> None:
    """Ask for all relocations, a few ahead of those that have ended."""
    shown, ended = 0, 0
    while len(requests.asked) < count and time.monotonic() < until:
        ended = _ended(stage, requests, ended)
        if ended >= shown + 10:
            shown = ended
            print(f"{shown} of {count} have ended", flush=True)
        if len(requests.asked) - ended >= AHEAD or not requests.ask():
            time.sleep(0.5)


def _await_end(stage: Stage, requests: Requests, until: float) -> None:
    ended = 0
    while time.monotonic() < until:
        ended = _ended(stage, requests, ended)
        if ended == len(requests.asked):
            return
        time.sleep(0.5)


def _ended(stage: Stage, requests: Requests, before: int) -> int:
    """Return how many have ended; as many as `before` while the ledger is away."""
    try:
        return len(settled(stage.ledger, requests.asked))
    except SQLAlchemyError:
        return before


if __name__ == "__main__":
    sys.exit(main())

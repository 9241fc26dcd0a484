"""An operator of the soak: pauses, unpauses and cancels by the command line, whatever is down."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.soak_stage import SWEEP_SECONDS
from relocation.ledger.relocations import find_relocation
from relocation.ledger.tables import relocations
from relocation.model import Relocation
from relocation.steps import Status, Step

COMMAND = Path(sys.executable).parent / "relocation"
HOLD_SECONDS = SWEEP_SECONDS + 15
"""For which a pause must hold: whatever a sweep does wrong it has done by then."""
LEAVE_SECONDS = 600
UNTIL = {"VALIDATING": "IMPORTING", "IMPORTING": None}
"""The two steps before which a relocation is paused, each with the one after it."""


class Operator:
    """Handles each relocation once at most; what he does shows in `done`, `cancelled`, `broken`."""

    def __init__(self, ledger: Engine, over: Event) -> None:
        self._ledger = ledger
        self._over = over
        self._threads: list[Thread] = []
        self._handled: set[str] = set()
        self.done: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        """Those that he asked to be cancelled, whether or not that was taken."""
        self.broken: list[str] = []
        """Pauses that did not hold, in words."""

    def pause_twice(self) -> None:
        """Pause a relocation before two steps, in a thread; it goes on in the end."""
        if one := self._pick(Step.PREPROCESSING):
            thread = Thread(target=self._pause_twice, args=(one,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def cancel(self, how: str) -> None:
        """Cancel or abort a relocation, wherever it is."""
        if one := self._pick(Step.REVEALING):
            self.cancelled.add(one)
            taken = self._run(how, one)
            self.done[f"{how}, {'taken' if taken else 'refused'}"] += 1

    def leave(self) -> None:
        """Wait until all that was paused goes on; everything else has to run again by then.

        What does not come to its pause, nor to its end, is left to the verdict.
        """
        until = time.monotonic() + LEAVE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _pick(self, latest: Step) -> str | None:
        """Choose the newest relocation at work that has not got past a step."""
        newest = select(relocations.c.id).where(relocations.c.status == Status.IN_PROGRESS)
        try:
            with self._ledger.connect() as connection:
                found = connection.execute(newest.order_by(relocations.c.created_at.desc()))
                ids = [one for one in found.scalars() if one not in self._handled]
        except SQLAlchemyError:
            return None
        for one in ids:
            relocation = self._find(one)
            if relocation is not None and relocation.step <= latest:
                self._handled.add(one)
                return str(one)
        return None

    def _pause_twice(self, one: str) -> None:
        step: str | None = "VALIDATING"
        if not self._run("pause", one, "--before", "VALIDATING"):
            self.done["pause, refused"] += 1
            return
        while step is not None:
            paused = self._await_pause(one)
            if paused is None:
                self.done[f"pause before {step}, not come to"] += 1
                return
            self._see_that_it_holds(paused, step)
            self.done[f"pause before {step}"] += 1
            after = UNTIL[step]
            # Ledger or Prefect server may be away: he says it again until it is taken.
            while not self._run("unpause", one, *(("--before", after) if after else ())):
                again = self._find(one)
                if again is not None and again.status is not Status.PAUSED:
                    break  # taken, and only the answer was lost
                time.sleep(5)
            step = after

    def _await_pause(self, one: str) -> Relocation | None:
        """Return the relocation once it is paused; None where it ends without being so."""
        while True:
            found = self._find(one)
            if found is not None and found.status is Status.PAUSED:
                return found
            if found is not None and not found.is_open:
                return None
            time.sleep(0.5)

    def _see_that_it_holds(self, paused: Relocation, step: str) -> None:
        until = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < until and not self._over.wait(1):
            now = self._find(paused.id)
            if now is not None and (now.status, now.fence) != (paused.status, paused.fence):
                self.broken.append(f"{paused.id}: paused before {step}, then {now.status}")
                return

    def _find(self, one: str) -> Relocation | None:
        try:
            return find_relocation(self._ledger, one)
        except SQLAlchemyError:
            return None

    def _run(self, *command: str) -> bool:
        done = subprocess.run(  # noqa: S603 - our own command
            [COMMAND, *command], capture_output=True, text=True, check=False
        )
        return done.returncode == 0

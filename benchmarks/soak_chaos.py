"""Kill, cut, take away, pause and cancel: at random, but the same for the same seed."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event, Thread

import psutil
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.soak_machines import Postgres, await_api
from benchmarks.soak_operator import Operator
from benchmarks.soak_stage import Stage

TROUBLED_MAIL = 0.2
AWAY_SECONDS = (40, 120)
"""What a failover of a database takes, from and to."""


@dataclass(frozen=True)
class Death:
    """A flow run's process that was killed."""

    pid: int
    at: float
    """Seconds since the epoch."""


class Chaos(Thread):
    """Do harm every `pause` seconds or so, until it is told to stop."""

    def __init__(self, stage: Stage, seed: int, pause: float) -> None:
        super().__init__(name="chaos", daemon=True)
        self._stage = stage
        self._random = random.Random(seed)  # noqa: S311 - the same chaos for the same seed
        self._pause = pause
        self._over = Event()
        self.done: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self.operator = Operator(stage.ledger, self._over)
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Do harm until `calm`."""
        harms = {
            self._kill_flow_run: 10,
            self._cut_connections: 5,
            self._restart_mail: 2,
            self._kill_worker: 2,
            self._kill_machine: 1,
            self._restart_server: 1,
            self._take_ledger_away: 1,
            self._take_destination_away: 1,
            self.operator.pause_twice: 2,
            self._cancel: 1,
        }
        # Each once, so that a short soak gets to as many as it can; then by their weight.
        first = self._random.sample(list(harms), len(harms))
        self._stage.peer.trouble = TROUBLED_MAIL
        try:
            while not self._over.wait(self._random.uniform(0.5, 1.5) * self._pause):
                self._start_what_ended()
                weighted = self._random.choices(list(harms), list(harms.values()))
                harm = first.pop() if first else weighted[0]
                harm()
        except BaseException as err:  # noqa: BLE001 - told by `calm`, in the main thread
            self.trouble = err

    def calm(self) -> None:
        """Do no more harm; everything runs again when it returns."""
        self._over.set()
        self.join()
        self._stage.peer.trouble = 0.0
        if self.trouble is not None:
            raise self.trouble
        self._start_what_ended()
        self.operator.leave()
        self.done += self.operator.done

    def _start_what_ended(self) -> None:
        """Start the workers that ended though nobody killed them, as their supervisor would."""
        for worker in self._stage.workers:
            if worker.pid is None:
                worker.start()
                self.done["workers that ended by themselves"] += 1

    def _kill_flow_run(self) -> None:
        runs = [run for worker in self._stage.workers for run in worker.flow_runs()]
        if runs:
            self._die(self._random.choice(runs))
            self.done["flow runs killed"] += 1

    def _die(self, process: psutil.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
            self.deaths.append(Death(process.pid, time.time()))

    def _kill_worker(self) -> None:
        """Its flow runs live on, without anybody who reports their end."""
        worker = self._random.choice(self._stage.workers)
        worker.kill(everything=False)
        worker.start()
        self.done["workers killed"] += 1

    def _kill_machine(self) -> None:
        """Worker and flow runs die together."""
        worker = self._random.choice(self._stage.workers)
        for run in worker.flow_runs():
            self._die(run)
        worker.kill(everything=True)
        worker.start()
        self.done["workers killed with all their runs"] += 1

    def _restart_server(self) -> None:
        self._stage.server.kill(everything=True)
        time.sleep(self._random.uniform(0, 5))
        self._stage.server.start()
        await_api(self._stage.api_url)
        self.done["Prefect server killed"] += 1

    def _restart_mail(self) -> None:
        self._stage.peer.stop()
        time.sleep(self._random.uniform(0, 5))
        self._stage.peer.start()
        self.done["mail server restarted"] += 1

    def _cut_connections(self) -> None:
        """Cut about half of what is connected to ledger and destination."""
        with contextlib.suppress(SQLAlchemyError), self._admin() as admin:
            self.done["database connections cut"] += _execute(
                admin,
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname IN ('ledger', 'destination')"
                " AND application_name <> 'soak' AND random() < 0.5",
            )

    def _take_ledger_away(self) -> None:
        self._take_away("ledger")

    def _take_destination_away(self) -> None:
        self._take_away("destination")

    def _take_away(self, database: str) -> None:
        """Let a database refuse everybody for a while, the soak itself too, as in a failover."""
        with self._admin() as admin:
            _execute(admin, f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
            try:
                _execute(
                    admin,
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    f" WHERE datname = '{database}'",
                )
                self._over.wait(self._random.uniform(*AWAY_SECONDS))
            finally:
                _execute(admin, f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
        self.done[f"{database} taken away"] += 1

    def _cancel(self) -> None:
        self.operator.cancel(self._random.choice(["cancel", "abort"]))

    @contextlib.contextmanager
    def _admin(self) -> Iterator[Engine]:
        postgres = self._stage.postgres
        assert isinstance(postgres, Postgres)
        admin = postgres.admin()
        try:
            yield admin
        finally:
            admin.dispose()


def _execute(admin: Engine, statement: str) -> int:
    """Execute a statement, and return the number that it says, if it does."""
    with admin.connect() as connection:
        result = connection.execute(text(statement))
        return int(result.scalar_one()) if result.returns_rows else 0

"""Kill, cut and restart, at random but the same for the same seed."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from threading import Event, Thread

import psutil
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.soak_machines import await_api
from benchmarks.soak_stage import Stage

TROUBLED_MAIL = 0.2


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
        }
        self._stage.peer.trouble = TROUBLED_MAIL
        try:
            while not self._over.wait(self._random.uniform(0.5, 1.5) * self._pause):
                self._start_what_ended()
                (harm,) = self._random.choices(list(harms), list(harms.values()))
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
        admin = self._stage.postgres.admin()
        with contextlib.suppress(SQLAlchemyError), admin.connect() as connection:
            cut = connection.execute(
                text(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname IN ('ledger', 'destination')"
                    " AND application_name <> 'soak' AND random() < 0.5"
                )
            ).scalar_one()
            self.done["database connections cut"] += cut
        admin.dispose()

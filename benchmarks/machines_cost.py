"""What relocations cost: processor, memory and connections of flow runs, calls, rows and bytes."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil
from sqlalchemy import Engine, create_engine, text

from benchmarks.soak_machines import Program
from benchmarks.soak_stage import Stage

PAUSE = 0.3
MB = 1024**2
_CALL = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE) (\S+) HTTP')


@dataclass
class Seen:
    """The most that was seen of a process."""

    folder: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    connections: int = 0


class Watch(Thread):
    """Look at the flow runs' processes of some workers, until it is told to stop."""

    def __init__(self, workers: Sequence[Program], database_port: int) -> None:
        super().__init__(name="watch", daemon=True)
        self._workers = workers
        self._database_port = database_port
        self._over = Event()
        self.seen: list[dict[int, Seen]] = [{} for _ in workers]
        """For each worker, its flow runs by the process id."""
        self.most_at_once = 0

    def run(self) -> None:
        """Look, until `end`."""
        while not self._over.wait(PAUSE):
            running = 0
            for number, worker in enumerate(self._workers):
                for run in worker.flow_runs():
                    running += 1
                    self._look(run, self.seen[number].setdefault(run.pid, Seen()))
            self.most_at_once = max(self.most_at_once, running)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()

    def _look(self, process: psutil.Process, seen: Seen) -> None:
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                seen.folder = process.cwd()
            open_now = [
                one
                for one in process.net_connections("tcp")
                if one.raddr and one.raddr.port == self._database_port
            ]
        except psutil.Error:
            return
        seen.seconds = max(seen.seconds, times.user + times.system)
        seen.megabytes = max(seen.megabytes, memory.rss / MB)
        seen.connections = max(seen.connections, len(open_now))


@dataclass(frozen=True)
class Stock:
    """What is in the databases, the storage and the server's log at one moment."""

    rows: Counter[str]
    """By database and table."""
    size: Counter[str]
    """Bytes, by database and table."""
    calls: Counter[str]
    stored: int
    """Bytes in the storage."""
    server_seconds: float
    worker_seconds: float
    """Of the workers with all that they ever started."""
    at: float


def take_stock(stage: Stage, storage: Path) -> Stock:
    """Count what is there now."""
    rows, size = Counter[str](), Counter[str]()
    for database in ("prefect", "ledger"):
        engine = create_engine(stage.postgres.url(database))
        for table in _tables(engine):
            with engine.connect() as connection:
                count, taken = connection.execute(
                    text(f'SELECT count(*), pg_total_relation_size(\'"{table}"\') FROM "{table}"')
                ).one()
            rows[f"{database}.{table}"], size[f"{database}.{table}"] = count, taken
        engine.dispose()
    calls = Counter(
        re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)
        for path in _CALL.findall(stage.server.log.read_text(errors="replace"))
    )
    stored = sum(one.stat().st_size for one in storage.rglob("*") if one.is_file())
    return Stock(
        rows,
        size,
        calls,
        stored,
        _seconds(stage.server),
        sum(map(_seconds, stage.workers)),
        time.monotonic(),
    )


def _tables(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        )
        return [str(name) for name in found.scalars()]


def _seconds(program: Program) -> float:
    """Return the processor seconds of a program with what it started, ended or not."""
    if program.pid is None:
        return 0.0
    whole = psutil.Process(program.pid)
    total = 0.0
    for process in [whole, *whole.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total

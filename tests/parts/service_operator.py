"""An operator of a whole service: a server, a worker, an inbox and the command line."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from command_line import PATIENCE, CommandLine
from sqlalchemy import Engine, create_engine, text

from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.database import engine_options, prepare
from relocation.example import example_archive, example_export, write_export
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import find_relocation, get_relocation
from relocation.ledger.tables import NoticeState
from relocation.ledger.tries import Try, tries_of
from relocation.local.inbox import Inbox
from relocation.model import Relocation

ROOT = Path(__file__).parents[2]


@dataclass
class Operator(CommandLine):
    """What an operator has and can do."""

    home: Path
    environment: dict[str, str]
    inbox: Inbox
    setup_output: str
    worker: "subprocess.Popen[bytes]" = field(init=False)
    start_worker: "Callable[[], subprocess.Popen[bytes]]" = field(init=False)

    def archive(self, name: str, records: list[Record] | None = None) -> Path:
        """Write an example archive, encrypted to the service's public key."""
        plain = self.export("plain.json", records or example_export(organizations=1))
        path = self.home / name
        with plain.open("rb") as export, path.open("wb") as out:
            seal_export(export, self.run("keys", "public").stdout, out)
        return path

    def archive_for_another_key(self, name: str) -> Path:
        """Write an example archive that this service cannot open."""
        path = self.home / name
        key = public_key_of(create_private_key(2048))
        path.write_bytes(example_archive(example_export(organizations=1), key))
        return path

    def export(self, name: str, records: list[Record]) -> Path:
        """Write a plain export."""
        path = self.home / name
        with path.open("wb") as out:
            write_export(records, out)
        return path

    def ended(self, relocation_id: str) -> Any:
        """Wait until a relocation has an end state, and return what `show` says of it."""

        def settled_and_told() -> bool:
            one = self.find(relocation_id)
            if one is None or one.settled_round != one.round:
                return False
            told = notices_of(self.ledger, relocation_id)
            return {notice.state for notice in told} == {NoticeState.SENT}

        self.until(settled_and_told)
        return self.json("show", relocation_id)

    def kill_worker(self, process: int) -> None:
        """Let the worker and the process of a run die, as a machine does; another worker starts."""
        os.kill(process, signal.SIGKILL)
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker = self.start_worker()

    def lose_worker(self) -> None:
        """Let the worker die once it has nothing to do; nobody takes its place.

        Nobody waits for what it would do in order: it would wait for a run that began meanwhile.
        """
        worker = psutil.Process(self.worker.pid)
        self.until(lambda: not worker.children())
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()

    def sweep(self) -> None:
        """Run the sweep that is due in at most five minutes."""
        code = (
            "from flows.sweep import sweep; import time\n"
            "while sweep(return_state=True).is_cancelled(): time.sleep(0.5)"  # another one sweeps
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr

    def begun(self, relocation_id: str, task: str = "import_organizations") -> int:
        """Wait until a relocation is in a task; return the id of the process that works on it."""

        def process() -> int | None:
            one = self.find(relocation_id)
            if one is None or one.task != task:
                return None
            return int(self.tries(relocation_id)[-1].worker.rpartition(":")[2])

        return self.until(process)

    def submitted(self, name: str, owner: str, *, projects: int = 400) -> str:
        """Submit a relocation whose import takes some seconds; return its id."""
        archive = self.archive(f"{name}.tar", example_export(organizations=1, projects=projects))
        shown = self.json("submit", str(archive), "-o", "acme", "--owner", owner)
        return str(shown["id"])

    def find(self, relocation_id: str) -> Relocation | None:
        """Return the relocation as the ledger has it."""
        return find_relocation(self.ledger, relocation_id)

    def stored(self, relocation_id: str) -> Relocation:
        """Return a relocation that the ledger has."""
        return get_relocation(self.ledger, relocation_id)

    def outlived(self, relocation_id: str) -> bool:
        """Say whether the relocation's lease has run out."""
        until = self.stored(relocation_id).lease_until
        return until is not None and until < self.now()

    def tries(self, relocation_id: str) -> list[Try]:
        """Return the relocation's tries, the last one last."""
        return tries_of(self.ledger, relocation_id)

    def now(self) -> datetime:
        """Return the time by which leases run out."""
        return datetime.now(UTC)

    def imported(self, relocation_id: str) -> int:
        """Return how many chunks of a relocation the destination has."""
        chunks = text("SELECT count(*) FROM relocation_import_chunk WHERE relocation_id = :id")
        with self.destination.connect() as connection:
            return int(connection.execute(chunks, {"id": relocation_id}).scalar_one())

    @property
    def ledger(self) -> Engine:
        """The embedded ledger."""
        return self._database("ledger.db")

    @property
    def destination(self) -> Engine:
        """The embedded destination."""
        return self._database("destination/destination.db")

    def _database(self, file: str) -> Engine:
        url = f"sqlite:///{self.home / 'data' / file}"
        return prepare(create_engine(url, **engine_options("sqlite")))

"""A service whose processes die at a chosen commit, and what a relocation leaves behind."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Crashed

from relocation.ledger.outbox import Notice, notices_of
from relocation.ledger.relocations import get_relocation
from relocation.local.inbox import Inbox, ReceivedMail
from relocation.prefect_api.blocks import (
    load_ledger,
)
from relocation.prefect_api.flow_runs import FlowRuns, submit
from relocation.recovery.runs import RunState
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status

LEASE_SECONDS = 0.5
ENVIRONMENT = {
    "RELOCATION_LEASE_SECONDS": str(LEASE_SECONDS),
    "RELOCATION_LEASE_RENEWAL": "0.1",
    "RELOCATION_START_LIMIT": "0.5",
    "RELOCATION_BACKOFF": "0",
    "RELOCATION_RESUME_AFTER": "0",
    "RELOCATION_CHUNK_RECORDS": "40",
}
_MOST_LIVES = 12


@dataclass(frozen=True)
class End:
    """What a relocation left behind."""

    status: Status
    run: RunState
    rows: dict[str, list[dict[str, Any]]] = field(repr=False)
    """The destination, by table."""
    notices: list[Notice] = field(repr=False)
    mails: list[ReceivedMail] = field(repr=False)
    trail: list[str] = field(repr=False)
    """The commits that its processes came to."""
    deaths: int

    @property
    def told(self) -> Counter[tuple[str, str, str]]:
        """Whom the outbox told what."""
        return Counter((str(one.kind), one.recipient, one.about) for one in self.notices)


class World:
    """A service whose relocations begin from the same state, each time anew."""

    def __init__(self, home: Path, inbox: Inbox, processes: "subprocess.Popen[str]") -> None:
        self._home = home
        self._inbox = inbox
        self._processes = processes
        self._trail = home / "trail"
        self._ledger = load_ledger(Settings())
        shutil.copytree(home / "data", home / "template")

    def live(self, *deaths: str, silently: bool = False) -> End:
        """Relocate; the n-th process dies at the n-th commit that is named.

        A death is found as it is with a worker, which reports it twice and runs the hook, and the
        automation; or `silently`, where the worker died too, by a sweep alone.
        """
        shutil.rmtree(self._home / "data")
        shutil.copytree(self._home / "template", self._home / "data")
        self._trail.write_text("")
        mails = len(self._inbox.messages())
        relocation_id = submit(
            RelocationRequest(archive="archives/a.tar", organizations=["acme"], owner="olivia")
        )
        planned, died = list(deaths), 0
        for _ in range(_MOST_LIVES):
            die_at = planned.pop(0) if planned else None
            ended = self._order("relocate", relocation_id, die_at=die_at)
            assert ended in {0, -signal.SIGKILL}, self.log
            if ended == 0:
                break
            died += 1
            self._find_dead(relocation_id, silently=silently)
            if self._run(relocation_id) is not RunState.SCHEDULED:
                break
        self._order("deliver", relocation_id)
        return End(
            status=get_relocation(self._ledger, relocation_id).status,
            run=self._run(relocation_id),
            rows=_rows(self._home / "data/destination/destination.db"),
            notices=notices_of(self._ledger, relocation_id),
            mails=self._inbox.messages()[mails:],
            trail=self._trail.read_text().splitlines(),
            deaths=died,
        )

    @property
    def log(self) -> str:
        """What the processes said, for a test that failed."""
        return (self._home / "log").read_text()[-4000:]

    def _find_dead(self, relocation_id: str, *, silently: bool) -> None:
        if silently:
            time.sleep(LEASE_SECONDS + 0.1)
            assert self._order("sweep", relocation_id) == 0, self.log
            return
        for order in ("hook", "handle"):
            with get_client(sync_client=True) as client:
                crashed: State[None] = Crashed(message="Process exited with status code: -9.")
                client.set_flow_run_state(UUID(relocation_id), crashed, force=True)
            assert self._order(order, relocation_id) == 0, self.log

    def _run(self, relocation_id: str) -> RunState:
        return FlowRuns().read([relocation_id])[relocation_id].state

    def _order(self, do: str, relocation_id: str, **more: object) -> int:
        order = {
            "do": do,
            "id": relocation_id,
            "trail": str(self._trail),
            "log": str(self._home / "log"),
            "modules": str(self._home / "modules"),
            **more,
        }
        assert self._processes.stdin is not None
        assert self._processes.stdout is not None
        self._processes.stdin.write(json.dumps(order) + "\n")
        self._processes.stdin.flush()
        return int(self._processes.stdout.readline())


def _rows(database: Path) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = [row["name"] for row in tables]
        return {
            name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2')]
            for name in names
        }

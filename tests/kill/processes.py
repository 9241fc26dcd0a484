"""Processes that die on demand: started by fork from one in which everything is imported.

Reads orders, one JSON object a line, carries each out in a process of its own, and answers with how
that process ended. A process that shall die counts its commits and sends itself SIGKILL.
"""

import contextlib
import importlib
import json
import os
import re
import signal
import sqlite3
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.states import Pending
from sqlalchemy import Connection, Engine, PoolProxiedConnection, event, select, update
from sqlalchemy.engine.default import DefaultDialect

from flows.handle_failure import handle_failure
from flows.notify import notify
from flows.relocate import relocate
from flows.sweep import sweep
from relocation.ledger.tables import NoticeState, notices
from relocation.prefect_api.blocks import load_ledger
from relocation.settings import Settings

_WRITES = re.compile(r'\s*(INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)
_OPEN = (NoticeState.QUEUED, NoticeState.CLAIMED, NoticeState.SENDING)
_HOUR = timedelta(hours=1)
_COUNTED = {"ledger.db": "ledger", "destination.db": "destination"}


class Commits:
    """Log each commit of the main thread that writes to ledger or destination, and die at one."""

    def __init__(self, trail: Path, die_at: str | None) -> None:
        self._trail = trail
        self._die_at = die_at
        self._numbers: Counter[str] = Counter()
        self._wrote: dict[int, str] = {}
        self._committing: str | None = None

    def watch(self) -> None:
        """Begin; for every engine of this process."""
        event.listen(Engine, "before_cursor_execute", self._note_write)
        event.listen(Engine, "rollback", lambda connection: self._wrote.pop(id(connection), None))
        event.listen(Engine, "commit", self._before)
        do_commit = cast(
            "Callable[[DefaultDialect, PoolProxiedConnection], None]", DefaultDialect.do_commit
        )

        def commit_then_die(dialect: DefaultDialect, connection: PoolProxiedConnection) -> None:
            do_commit(dialect, connection)
            if threading.current_thread() is threading.main_thread() and self._committing:
                point, self._committing = self._committing, None
                self._pass(f"after {point}")

        DefaultDialect.do_commit = commit_then_die  # type: ignore[method-assign]

    def _note_write(
        self, connection: Connection, _cursor: object, statement: str, *_arguments: object
    ) -> None:
        wrote = _WRITES.match(statement)
        if wrote and threading.current_thread() is threading.main_thread():
            self._wrote[id(connection)] = wrote[2]

    def _before(self, connection: Connection) -> None:
        database = _COUNTED.get(Path(str(connection.engine.url.database)).name)
        table = self._wrote.pop(id(connection), None)
        if database is None or table is None:
            return
        self._numbers[database] += 1
        self._committing = f"{database} {self._numbers[database]}, which writes {table}"
        self._pass(f"before {self._committing}")

    def _pass(self, point: str) -> None:
        with self._trail.open("a") as trail:
            trail.write(point + "\n")
        if point == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _relocate(order: dict[str, Any]) -> None:
    """Do what a worker and its process do with a run that is due."""
    Commits(Path(order["trail"]), order.get("die_at")).watch()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(order["id"]), Pending())
        flow_run = client.read_flow_run(UUID(order["id"]))
    run_flow(relocate, flow_run=flow_run, return_type="state")


def _hook(order: dict[str, Any]) -> None:
    """Do what a worker does when a process of its was killed."""
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(order["id"]))
    assert isinstance(flow_run.state, State)
    for hook in relocate.on_crashed_hooks:
        hook(flow=relocate, flow_run=flow_run, state=flow_run.state)


def _deliver(_order: dict[str, Any]) -> None:
    """Let hours pass, and a sweep's `notify` in each: what was put off becomes due."""
    ledger = load_ledger(Settings())
    for _ in range(3):
        with ledger.begin() as connection:
            late = connection.execute(select(notices).where(notices.c.state.in_(_OPEN))).all()
            for one in late:
                lease = one.lease_until - _HOUR if one.lease_until else None
                connection.execute(
                    update(notices)
                    .where(notices.c.id == one.id)
                    .values(not_before=one.not_before - _HOUR, lease_until=lease)
                )
        if late:
            notify()


_ORDERS = {
    "relocate": _relocate,
    "hook": _hook,
    "handle": lambda order: handle_failure(order["id"]),
    "sweep": lambda _order: sweep(),
    "deliver": _deliver,
}


def _carry_out(order: dict[str, Any]) -> int:
    """Carry an order out in a process of its own; returns how it ended, as `os.wait` tells it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Path(order["log"]).open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            _ORDERS[order["do"]](order)
            Path(order["modules"]).write_text("\n".join(sys.modules))
            code = 0
        except BaseException:  # noqa: BLE001 - told, and the process ends here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        _import_all(Path(order["modules"]).read_text().split())
    return ended


def _import_all(modules: list[str]) -> None:
    """Import what a process had to import, so that the next ones need not."""
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _trust_the_disk(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")  # a process dies here, never the machine


if __name__ == "__main__":
    event.listen(Engine, "connect", _trust_the_disk)
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(quiet):
        assert threading.active_count() == 1, "a process with threads must not fork"
        for line in sys.stdin:
            print(_carry_out(json.loads(line)), flush=True)  # noqa: T201 - the answer

"""A worker that is started again where it dies, and the processes that outlived one."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from subprocess import Popen
from typing import Self

import psutil

from relocation.local.processes import end_all

MOST = 5
"""How often within `WITHIN` seconds it is started again: more often it is no accident."""
WITHIN = 600
_FLOW = "PREFECT__FLOW_NAME"
"""A worker sets it for the process of each flow run."""


class KeptWorker:
    """A worker for as long as a `with` block lasts; `start` starts one.

    The runs of one that died live on: they hold their leases, and report to the server themselves.
    """

    def __init__(self, start: Callable[[], AbstractContextManager["Popen[bytes]"]]) -> None:
        self._start = start
        self._all = ExitStack()
        self._begun: list[float] = []
        self._process: Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = self._all.enter_context(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()

    @property
    def pid(self) -> int:
        """Of the process that is there now."""
        assert self._process is not None  # noqa: S101 - inside the `with` block
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code where it has ended by itself, else None."""
        return self._process.poll() if self._process else None

    def start_again(self) -> bool:
        """Start another one; False where that was done too often of late."""
        now = time.monotonic()
        self._begun = [one for one in self._begun if one > now - WITHIN]
        if len(self._begun) >= MOST:
            return False
        self._begun.append(now)
        self._process = self._all.enter_context(self._start())
        return True


def end_runs(home: Path) -> int:
    """End the runs that have outlived their worker, by its Prefect home; return how many."""
    return _end(home, lambda environment, _: _FLOW in environment)


def end_left_over(home: Path) -> int:
    """End what an `up` that was killed has left: server, worker, runs; return how many."""
    return _end(
        home,
        lambda environment, command: _FLOW in environment or command[1:3] == ["-m", "prefect"],
    )


def _end(home: Path, ours: Callable[[Mapping[str, str], list[str]], bool]) -> int:
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            environment = one.environ()
            if environment.get("PREFECT_HOME") == str(home) and ours(environment, one.cmdline()):
                found.append(one)
    end_all(found)
    return len(found)

"""A worker that is stopped: relocations are interrupted, the safety net does what it is at."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from relocation.local import processes
from relocation.local.processes import stop_in_order

WORKER = """
import os, subprocess, sys, time

def run(flow, code):
    environment = {**os.environ, "PREFECT__FLOW_NAME": flow}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)

runs = [run(flow, code) for flow, code in zip(sys.argv[1::2], sys.argv[2::2])]
for one in runs:
    one.wait()
time.sleep(600)
"""
RUN = """
import signal, sys, time
from pathlib import Path

name, folder = {name!r}, Path({folder!r})

def told(*_):
    (folder / (name + ".told")).touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, told)
(folder / (name + ".begun")).touch()
while not (folder / {until!r}).exists():
    time.sleep(0.02)
(folder / (name + ".done")).touch()
"""


class Stopped(Protocol):
    """Runs flows of these names, each until a file is there, and stops their worker."""

    def __call__(self, **until: str) -> set[str]: ...


@pytest.fixture
def stopped(tmp_path: Path) -> Stopped:
    """Start a worker with runs of these flows, stop it, and say what became of the runs."""

    def stop(**until: str) -> set[str]:
        arguments = []
        for name, file in until.items():
            flow = name.replace("_", "-")
            arguments += [flow, RUN.format(name=flow, folder=str(tmp_path), until=file)]
        worker = subprocess.Popen([sys.executable, "-c", WORKER, *arguments])
        while len(list(tmp_path.glob("*.begun"))) < len(until):
            assert worker.poll() is None
        stop_in_order(worker)
        assert worker.returncode == -signal.SIGTERM
        return {path.name for path in tmp_path.iterdir() if path.suffix != ".begun"}

    return stop


def test_a_run_of_the_safety_net_ends_by_itself_while_a_relocation_is_told_to(
    stopped: Stopped,
) -> None:
    """The one waits here for the other: were it told first, it would not be done."""
    became = stopped(relocate="never", handle_failure="relocate.told")
    assert became == {"relocate.told", "handle-failure.done"}


def test_a_run_of_the_safety_net_that_takes_long_is_told_in_the_end(
    stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "DRAIN_SECONDS", 0.2)
    assert stopped(sweep="never") == {"sweep.told"}

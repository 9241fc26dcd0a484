"""A worker that dies is started again, at most so often; what outlived one is ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from relocation.local.keeping import MOST, KeptWorker, end_runs

SLEEP = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


@contextmanager
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(SLEEP, stdin=subprocess.PIPE) as one:
        yield one
        one.kill()


def test_a_worker_that_dies_is_started_again_until_it_is_no_accident() -> None:
    with KeptWorker(process) as worker:
        seen = {worker.pid}
        for _ in range(MOST):
            assert worker.poll() is None
            psutil.Process(worker.pid).kill()
            while worker.poll() is None:
                pass
            assert worker.start_again()
            seen.add(worker.pid)
        assert len(seen) == MOST + 1
        assert not worker.start_again()
    assert not any(psutil.pid_exists(pid) for pid in seen)


@pytest.mark.parametrize(
    ("variables", "ended"),
    [
        ({"PREFECT_HOME": "{home}", "PREFECT__FLOW_NAME": "relocate"}, True),
        ({"PREFECT_HOME": "{home}/other", "PREFECT__FLOW_NAME": "relocate"}, False),
        ({"PREFECT_HOME": "{home}"}, False),  # a command of somebody's
    ],
)
def test_runs_of_a_dead_worker_are_ended_and_nothing_else(
    variables: dict[str, str], ended: bool, tmp_path: Path
) -> None:
    named = {name: value.format(home=tmp_path) for name, value in variables.items()}
    environment = {**os.environ, **named}
    with subprocess.Popen(
        SLEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        assert end_runs(tmp_path) == int(ended)
        if not ended:
            assert run.poll() is None
            run.kill()

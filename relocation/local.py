"""A Prefect server and a worker on this machine, for as long as a `with` block lasts."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 120
STOP_SECONDS = 15


class StartError(RuntimeError):
    """A process did not come up; its last output is in the message."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prefect_server(home: Path, port: int) -> Iterator[str]:
    """Run a Prefect server with a home of its own; yields the URL of its API once it answers."""
    url = f"http://127.0.0.1:{port}/api"
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _running("server", arguments, home, {"PREFECT_API_URL": url}) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"The Prefect server did not start; see {home / 'server.log'}")
            time.sleep(0.2)
        yield url


@contextmanager
def prefect_worker(
    home: Path, api_url: str, pool: str, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker of the pool; what it starts inherits the environment and ends with it.

    Yields the worker, which leads the process group of everything that it starts.
    """
    variables = {
        "PREFECT_API_URL": api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "INFO",  # a command's own level is not that of the flows
        **environment,
    }
    with _running("worker", ["worker", "start", "--pool", pool], home, variables) as worker:
        yield worker


@contextmanager
def _running(
    name: str, arguments: list[str], home: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    home.mkdir(parents=True, exist_ok=True)
    variables = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **environment,
    }
    with (home / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            [sys.executable, "-m", "prefect", *arguments],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the process and everything it started: they share its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(api_url: str) -> bool:
    try:
        with urlopen(f"{api_url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
            return bool(answer.status == 200)  # noqa: PLR2004
    except (URLError, OSError):
        return False

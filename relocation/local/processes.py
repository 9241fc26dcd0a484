"""A Prefect server and a worker on this machine, for as long as a `with` block lasts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from relocation.errors import CommandError
from relocation.process import LOOPBACK

START_SECONDS = 300
DRAIN_SECONDS = 10
"""In which a run of the safety net may come to its end before it is told to end."""
STOP_SECONDS = 15
SAFETY_NET = frozenset({"handle-failure", "notify", "sweep"})
"""Flows that are short, and whose end before their time would alarm the operator."""
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Server:
    """A Prefect server that answers."""

    url: str
    """Of its API."""
    process: "subprocess.Popen[bytes]"


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def refuse_taken_port(port: int, remedy: str) -> None:
    """Raise CommandError where somebody listens on this port of the loopback interface."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still fading is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as err:
            raise CommandError(f"Port {port} on this machine is taken. {remedy}") from err


def end_in_order() -> None:
    """Let Ctrl-C, SIGTERM or a closed terminal end this process through its `with` blocks.

    The first of them counts: none that follows interrupts the stopping.
    """
    for one in _ENDS:
        signal.signal(one, _end)


def _end(*_: object) -> NoReturn:
    for one in _ENDS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def prefect_server(home: Path, port: int) -> Iterator[Server]:
    """Run a Prefect server with a home of its own; yields it once it answers."""
    url = f"http://{LOOPBACK}:{port}/api"
    arguments = ["server", "start", "--host", LOOPBACK, "--port", str(port)]
    variables = {
        "PREFECT_API_URL": url,
        # By default a restart forgets them, and then ends each run that renews its own.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage"
        ".filesystem",
    }
    with _running("server", arguments, home, variables) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"The Prefect server did not start; see {home / 'server.log'}")
            time.sleep(0.2)
        yield Server(url, process)


@contextmanager
def prefect_worker(
    home: Path,
    api_url: str,
    pool: str,
    environment: Mapping[str, str],
    *,
    limit: int | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker of the pool; what it starts inherits the environment and ends with it.

    It runs at most `limit` flow runs at once, else as many as there are.
    """
    variables = {
        "PREFECT_API_URL": api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "INFO",  # a command's own level is not that of the flows
        **environment,
    }
    arguments = ["worker", "start", "--pool", pool]
    if limit is not None:
        arguments += ["--limit", str(limit)]
    with _running("worker", arguments, home, variables) as worker:
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
        stop_in_order(process)


def stop_in_order(process: "subprocess.Popen[bytes]") -> None:
    """End the process and everything it started.

    A worker's flow runs lead sessions of their own. They end first, while there are still a worker
    and a server to tell, so that an interruption is recorded; those of the safety net are first
    given time to do what they are at.
    """
    started = _started_by(process)
    told = _terminate([one for one in started if not _is_safety_net(one)], set())
    psutil.wait_procs(started, timeout=DRAIN_SECONDS)
    told |= _terminate(_started_by(process), told)
    deadline = time.monotonic() + STOP_SECONDS
    psutil.wait_procs(told, timeout=STOP_SECONDS)
    process.terminate()
    while process.poll() is None and time.monotonic() < deadline:
        told |= _terminate(_started_by(process), told)
        time.sleep(0.05)
    process.kill()
    process.wait()
    for late in psutil.wait_procs(told, timeout=max(0.0, deadline - time.monotonic()))[1]:
        with suppress(psutil.NoSuchProcess):
            late.kill()


def end_all(processes: list[psutil.Process]) -> None:
    """End processes in order: those of the safety net may first do what they are at."""
    _terminate([one for one in processes if not _is_safety_net(one)], set())
    late = psutil.wait_procs(processes, timeout=DRAIN_SECONDS)[1]
    _terminate(late, set())
    for one in psutil.wait_procs(late, timeout=STOP_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _is_safety_net(process: psutil.Process) -> bool:
    """Say whether a worker started the process for a flow of the safety net."""
    try:
        return process.environ().get("PREFECT__FLOW_NAME") in SAFETY_NET
    except psutil.Error:
        return False


def _terminate(processes: list[psutil.Process], known: set[psutil.Process]) -> set[psutil.Process]:
    """Ask those to end that are not known yet, and return them."""
    new = set(processes) - known
    for one in new:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    return new


def _started_by(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        started: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return started


def _answers(api_url: str) -> bool:
    try:
        with urlopen(f"{api_url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
            return bool(answer.status == 200)  # noqa: PLR2004
    except (URLError, OSError):
        return False

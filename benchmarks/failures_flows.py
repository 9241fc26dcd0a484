"""What the pipeline adds to a bare Prefect flow: when all goes well, and when a task fails."""

import os
import smtplib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from statistics import median
from types import ModuleType
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

from prefect import Flow, flow, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_LEVEL,
    temporary_settings,
)

from flows.relocate import relocate
from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.delivery.smtp import Mailer
from relocation.example import example_export, write_export
from relocation.local.inbox import Inbox
from relocation.prefect_api.blocks import load_destination, load_private_key, load_storage
from relocation.prefect_api.setup import set_up
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.transfer.load.accounts import add_users

ROUNDS = int(os.environ.get("ROUNDS", "5"))

_ENGINE = {
    "tasks.receive": ["resolve_people"],
    "tasks.scan": ["open_export", "scan"],
    "tasks.capture": ["bind", "export_records", "write_records"],
    "tasks.compare": ["open_files", "trial", "verify"],
    "tasks.import_organizations": ["open_files", "import_records"],
    "tasks.hand_over": ["find_user", "grant", "reveal"],
    "tasks.complete": ["moved_organizations", "issue_claims", "import_report", "handover_facts"],
    "tasks.working_files": ["delete_normalised"],
    "tasks.notices": ["load_templates", "deliver_due"],
}
"""What a relocation does besides handling failure: the engine's work, and the mail's."""


@flow(persist_result=False)
def child() -> None:
    """Be a child run with one empty task."""
    empty()


@task(persist_result=False)
def empty() -> None:
    """Do nothing."""


@flow(persist_result=False)
def bare() -> None:
    """Be as many empty tasks and child runs as a relocation has."""
    for _ in range(11):
        empty()
    for _ in range(2):
        child()


class Flows:
    """A service on the server of this process, and bare flows beside it."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        settings = Settings()
        set_up(settings, inbox_port=inbox.port)
        add_users(load_destination(settings), tuple(f"owner{n}" for n in range(100)))
        self._owner = iter(range(100))
        plain = BytesIO()
        write_export(example_export(organizations=1, members=1, projects=1), plain)
        ours = public_key_of(load_private_key(settings))
        for name, key in (("good", ours), ("foreign", public_key_of(create_private_key(2048)))):
            sealed = BytesIO()
            seal_export(plain.getvalue(), key, sealed)
            load_storage(settings).write(f"archives/{name}.tar", sealed.getvalue())

    def _relocate(self, archive: str) -> None:
        request = RelocationRequest(
            archive=f"archives/{archive}.tar",
            organizations=["acme"],
            owner=f"owner{next(self._owner)}",
        )
        relocate(request, return_state=True)

    def compare_success(self) -> None:
        """Compare a tiny relocation, without the engine's work, with a flow of empty tasks."""
        ours, engine, theirs = [], [], []
        with quiet():
            for number in range(ROUNDS + 1):
                with timed(_ENGINE) as parts:
                    whole = taken(lambda: self._relocate("good"))
                other = taken(bare)
                if number:  # the first of each imports and connects
                    work = sum(seconds for part, seconds in parts.items() if part != "send")
                    ours.append(whole - work)
                    engine.append(work)
                    theirs.append(other)
        mine, work, other = median(ours), median(engine), median(theirs)
        print("\n## A tiny relocation against as many empty tasks and child runs (target: 1.5)\n")
        print("| | s |\n|---|---|")
        print(f"| engine and mail | {work:.2f} |\n| everything else | {mine:.2f} |")
        print(f"| bare flow | {other:.2f} |\n| ratio | {mine / other:.2f} |", flush=True)

    def compare_failure(self) -> None:
        """Compare the time from a failing task to the mail in the inbox with a bare hook's."""
        ours, theirs = [], []
        parts: dict[str, list[float]] = defaultdict(list)
        with quiet():
            for number in range(ROUNDS + 1):
                with timed(_PARTS) as spent, raising("tasks.scan", "open_export") as raised:
                    self._relocate("foreign")
                mine = self._arrived() - raised[0]
                other = self._fail_bare()
                if number:
                    ours.append(mine)
                    theirs.append(other)
                    for part, seconds in named_parts(spent).items():
                        parts[part].append(seconds)
        print("\n## From the failing task to the mail in the inbox (target: 1.3)\n")
        print("| | s |\n|---|---|")
        print(f"| ours | {median(ours):.2f} |\n| bare | {median(theirs):.2f} |")
        print(f"| ratio | {median(ours) / median(theirs):.2f} |")
        for part, all_seconds in parts.items():
            print(f"| of ours: {part} | {median(all_seconds):.2f} |", flush=True)

    def _arrived(self) -> float:
        """Return when the last mail arrived."""
        return self._inbox.messages()[-1].path.stat().st_mtime

    def _fail_bare(self) -> float:
        raised: list[float] = []

        def send(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
            nothing()
            with smtplib.SMTP("127.0.0.1", self._inbox.port) as server:
                server.sendmail("a@example.org", "b@example.org", "Subject: failed\r\n\r\nIt did.")

        @task(persist_result=False)
        def fail() -> None:
            raised.append(time.time())
            raise ValueError("no")

        @flow(persist_result=False, on_failure=[send])
        def failing() -> None:
            fail()

        failing(return_state=True)
        return self._arrived() - raised[0]


@flow(persist_result=False)
def nothing() -> None:
    """Be an empty subflow."""


P = ParamSpec("P")
R = TypeVar("R")

_PARTS = {
    "tasks.hook": ["_settle"],
    "flows.relocate": ["notify"],
    "tasks.notices": ["deliver_notices", "load_templates"],
    "relocation.delivery.deliver": ["message_bytes"],
}


def named_parts(spent: dict[str, float]) -> dict[str, float]:
    """Return the parts of a failure's way, by their names in the table."""
    return {
        "settle": spent["_settle"],
        "build (templates and message)": spent["load_templates"] + spent["message_bytes"],
        "send": spent["send"],
        "subflow, without those": spent["notify"]
        - spent["load_templates"]
        - spent["message_bytes"]
        - spent["send"],
    }


def taken(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off what waits a second at the end of each flow run, and what prints."""
    with temporary_settings(
        {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_LEVEL: "CRITICAL"}
    ):
        yield


@contextmanager
def timed(functions: dict[str, list[str]]) -> Iterator[dict[str, float]]:
    """Add up the seconds spent in functions, by name; what one calls of the others counts once."""
    spent: dict[str, float] = defaultdict(float)
    with (
        patched(functions, lambda name, call: _timer(name, call, spent)),
        patch.object(Mailer, "send", _timer("send", Mailer.send, spent)),
    ):
        yield spent


def _timer(name: str, call: Callable[P, R], spent: dict[str, float]) -> Callable[P, R]:
    @wraps(call)
    def measured(*arguments: P.args, **named: P.kwargs) -> R:
        began = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent[name] += time.perf_counter() - began

    return measured


@contextmanager
def raising(module: str, name: str) -> Iterator[list[float]]:
    """Note when a function raises."""
    moments: list[float] = []

    def noting(_name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: object, **named: object) -> object:
            try:
                return call(*arguments, **named)
            except Exception:
                moments.append(time.time())
                raise

        return noted

    with patched({module: [name]}, noting):
        yield moments


@contextmanager
def patched(
    functions: dict[str, list[str]],
    around: Callable[[str, Callable[..., Any]], Callable[..., Any]],
) -> Iterator[None]:
    """Put something around functions of modules for a while."""
    before: list[tuple[ModuleType, str, Any]] = []
    for module_name, names in functions.items():
        module = sys.modules[module_name]
        for name in names:
            call = getattr(module, name)
            before.append((module, name, call))
            setattr(module, name, around(name, call))
    try:
        yield
    finally:
        for module, name, call in before:
            setattr(module, name, call)

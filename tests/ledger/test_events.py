"""One vocabulary of events: what the history keeps, and what of it the Prefect server is told."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from relocation.database import database_time
from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import utc_now
from relocation.prefect_api import flow_runs
from relocation.prefect_api.flow_runs import FlowRuns
from relocation.request import RelocationRequest
from relocation.steps import LifecycleEvent, Status

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
REQUEST = RelocationRequest(archive="a.tar", organizations=["acme"], owner="olivia")


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the events that Prefect is sent."""
    names: list[str] = []

    def emit(name: str, **_told: object) -> None:
        names.append(name)

    monkeypatch.setattr(flow_runs, "emit_event", emit)
    return names


def test_the_server_is_told_of_what_is_documented_and_of_nothing_else(
    file_ledger: Engine, emitted: list[str]
) -> None:
    opened = open_relocation(file_ledger, "r-1", REQUEST, database_time)
    for event in LifecycleEvent:
        FlowRuns().announce(opened, event)
    assert sorted(emitted) == sorted(re.findall(r"^\| `(relocation\.\w+)`", DOCUMENTED, re.M))


def test_only_the_first_process_starts_a_relocation(
    file_ledger: Engine, emitted: list[str]
) -> None:
    for _ in range(2):
        opened = open_relocation(file_ledger, "r-1", REQUEST, database_time)
        FlowRuns().announce(opened, opened.event)
    assert opened.event is LifecycleEvent.TAKEN_OVER
    assert emitted == ["relocation.started", "relocation.resumed"]


def test_a_further_round_opens_and_is_told_as_going_on(
    file_ledger: Engine, emitted: list[str]
) -> None:
    first = open_relocation(file_ledger, "r-1", REQUEST, database_time)
    failed = Settlement(Status.FAILURE, "It failed.")
    domain, own = "example.org", hold_of(first)
    event = settle(file_ledger, "r-1", failed, sender_domain=domain, seen=own, now=utc_now())
    assert event is LifecycleEvent.FAILED
    again = open_relocation(file_ledger, "r-1", REQUEST, database_time)
    assert again.event is LifecycleEvent.OPENED
    FlowRuns().announce(again, again.event)
    assert emitted == ["relocation.resumed"]

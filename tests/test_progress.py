"""How long an import will still take, by the records of the last minute."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

import tasks.artifacts
from relocation.cli import following
from relocation.steps import Status, Step, Task
from tasks.artifacts import Pace, Progress


def test_the_rest_takes_as_long_as_what_was_done_says() -> None:
    pace = Pace(now=100)
    assert pace.seconds_left(110, done=100, total=400) == pytest.approx(30)
    assert pace.seconds_left(120, done=300, total=400) == pytest.approx(20 * 100 / 300)


def test_what_an_earlier_try_wrote_counts_no_more_after_a_minute() -> None:
    pace = Pace(now=0)
    pace.seconds_left(3, done=900, total=1000)
    for second in range(10, 71, 10):
        left = pace.seconds_left(second, done=900 + second // 10, total=1000)
    assert left == pytest.approx((1000 - 907) * 10, rel=0.1)


@pytest.mark.parametrize(("now", "done"), [(0.5, 50), (10, 0), (10, 100), (10, 101)])
def test_nothing_is_said_too_soon_or_at_the_end(now: float, done: int) -> None:
    assert Pace(now=0).seconds_left(now, done=done, total=100) is None


def test_the_artifact_says_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shown = [0.0], []
    monkeypatch.setattr(tasks.artifacts, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(tasks.artifacts, "show", lambda *_args: uuid4())
    monkeypatch.setattr(tasks.artifacts, "show_progress", lambda _, *what: shown.append(what))
    progress = Progress("Import", str(uuid4()), 1000)
    for clock[0], records in [(1.0, 10), (10.0, 90), (20.0, 900)]:
        progress("sentry.project", records)
    assert shown == [
        (10.0, "Import of 1,000 records, about 2 minutes left"),
        (100.0, "Import of 1,000 records"),
    ]


@pytest.mark.parametrize(
    ("task", "status", "asked"),
    [
        (Task.IMPORT_ORGANIZATIONS, Status.IN_PROGRESS, True),
        (Task.VALIDATE, Status.IN_PROGRESS, True),
        (Task.SCAN_EXPORT, Status.IN_PROGRESS, False),
        (Task.IMPORT_ORGANIZATIONS, Status.PAUSED, False),
    ],
)
def test_following_tells_how_far_an_import_is_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch, task: Task, status: Status, asked: bool
) -> None:
    from relocation.prefect_api import artifacts

    monkeypatch.setattr(artifacts, "progress_of", lambda _id: "Import of 9 records: 4 %")
    one: Any = SimpleNamespace(task=task, status=status, step=Step.IMPORTING)
    said = following._Importing("1").how_far(one)
    assert said == ("Import of 9 records: 4 %" if asked else None)

"""What a task has to tell at length is kept whole, and by the process that holds the relocation."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from relocation.errors import FencedOut
from relocation.ledger.holds import Hold
from relocation.ledger.reports import keep_report, reports_of
from relocation.ledger.tables import utc_now
from relocation.request import RelocationRequest
from relocation.steps import Task


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """An empty ledger, on each database."""
    return either_ledger


def test_a_report_comes_back_whole_and_in_the_order_of_the_tasks(
    ledger: Engine, hold: Hold
) -> None:
    long = {"findings": [{"reason": f"{number}"} for number in range(5000)]}
    keep_report(ledger, hold, Task.VERIFY_IMPORT, long, utc_now())
    keep_report(ledger, hold, Task.SCAN_EXPORT, {"left_out": {}}, utc_now())
    assert reports_of(ledger, hold.relocation_id) == {
        Task.SCAN_EXPORT: {"left_out": {}},
        Task.VERIFY_IMPORT: long,
    }
    assert list(reports_of(ledger, hold.relocation_id)) == [Task.SCAN_EXPORT, Task.VERIFY_IMPORT]


def test_a_later_report_of_a_task_takes_the_place_of_the_earlier(
    ledger: Engine, hold: Hold
) -> None:
    keep_report(ledger, hold, Task.VERIFY_IMPORT, {"findings": [1]}, utc_now())
    keep_report(ledger, hold, Task.VERIFY_IMPORT, {"findings": []}, utc_now())
    assert reports_of(ledger, hold.relocation_id) == {Task.VERIFY_IMPORT: {"findings": []}}


def test_who_was_fenced_out_keeps_no_report(
    ledger: Engine, hold: Hold, ask: Callable[..., RelocationRequest]
) -> None:
    keep_report(ledger, hold, Task.VALIDATE, {"findings": []}, utc_now())
    with pytest.raises(FencedOut):
        keep_report(
            ledger, replace(hold, fence=hold.fence - 1), Task.VALIDATE, {"findings": [1]}, utc_now()
        )
    assert reports_of(ledger, hold.relocation_id) == {Task.VALIDATE: {"findings": []}}

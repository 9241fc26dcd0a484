"""A relocation whose process dies goes on by itself from the task it was in."""

import os
import signal
from typing import Any

from service_operator import Operator


def _tried(shown: dict[str, Any], task: str) -> list[str]:
    return [one["outcome"] for one in shown["tries"] if one["task"] == task]


def _told(shown: dict[str, Any]) -> set[str]:
    return {notice["kind"] for notice in shown["notices"]}


def test_a_killed_run_goes_on_where_it_was_and_succeeds(operator: Operator) -> None:
    """The worker reports the crash, twice; hook and automation see to the rest.

    The worker has a limit, as one that is given a run before it is done with it must survive.
    """
    relocation_id = operator.submitted("killed", "nadia")
    os.kill(operator.begun(relocation_id), signal.SIGKILL)
    shown = operator.ended(relocation_id)
    assert shown["status"] == "SUCCESS"
    assert _tried(shown, "import_organizations") == ["INTERRUPTED", "DONE"]
    assert _tried(shown, "scan_export") == ["DONE"]
    assert "FAILED" not in _told(shown)
    assert "INTERRUPTED" in [event["what"] for event in shown["story"]]
    assert operator.worker.poll() is None


def test_a_machine_that_never_comes_back_loses_no_relocation(operator: Operator) -> None:
    """Worker and flow die together: nobody reports it, and the run seems to run for ever."""
    relocation_id = operator.submitted("machine", "petra")
    operator.kill_worker(operator.begun(relocation_id))
    operator.until(lambda: operator.outlived(relocation_id))
    operator.sweep()
    shown = operator.ended(relocation_id)
    assert shown["status"] == "SUCCESS"
    assert _tried(shown, "import_organizations") == ["INTERRUPTED", "DONE"]
    assert "FAILED" not in _told(shown)


def test_an_orderly_termination_is_an_interruption_too(operator: Operator) -> None:
    """As a container is ended that has to move."""
    relocation_id = operator.submitted("terminated", "carl")
    os.kill(operator.begun(relocation_id), signal.SIGTERM)
    shown = operator.ended(relocation_id)
    assert shown["status"] == "SUCCESS"
    assert _tried(shown, "import_organizations") == ["INTERRUPTED", "DONE"]
    assert "FAILED" not in _told(shown)

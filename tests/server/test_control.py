"""Pause, cancel, abort and go on, by the command line and by what the Prefect UI does."""

from service_operator import Operator

from relocation.ledger.tables import utc_now
from relocation.ledger.transitions import schedule_pause
from relocation.steps import Step


def _set_state(operator: Operator, relocation_id: str, kind: str, name: str) -> None:
    body = {"state": {"type": kind, "name": name}, "force": False}
    operator.api("POST", f"flow_runs/{relocation_id}/set_state", body)


def _state(operator: Operator, relocation_id: str) -> str:
    return str(operator.api("GET", f"flow_runs/{relocation_id}").json()["state"]["name"])


def test_a_paused_relocation_waits_and_goes_on_when_unpaused(operator: Operator) -> None:
    """A-131, A-134."""
    relocation_id = operator.submitted("paused", "dora", projects=2000)
    operator.begun(relocation_id, "receive_archive")
    operator.run("pause", relocation_id, "--before", "POSTPROCESSING")  # after the long one
    operator.until(lambda: operator.stored(relocation_id).status == "PAUSED")
    operator.until(lambda: _state(operator, relocation_id) == "Suspended")
    assert "paused" in operator.run("recover", relocation_id, code=1).stderr
    operator.run("unpause", relocation_id)
    shown = operator.ended(relocation_id)
    assert shown["status"] == "SUCCESS"
    assert [event["what"] for event in shown["story"]].count("PAUSED") == 1


def test_a_second_pause_holds_and_resume_in_the_ui_ends_it(operator: Operator) -> None:
    """Prefect refuses to suspend a run twice under one key, and says nothing."""
    relocation_id = operator.submitted("twice", "gerd")
    operator.begun(relocation_id, "receive_archive")
    schedule_pause(
        operator.ledger, relocation_id, Step.VALIDATING, utc_now()
    )  # the command takes too long
    for step, then in (("VALIDATING", ("--before", "IMPORTING")), ("IMPORTING", None)):
        operator.until(lambda: operator.stored(relocation_id).suspended_since)
        assert operator.stored(relocation_id).step.name == step
        assert _state(operator, relocation_id) == "Suspended"
        operator.sweep()
        paused = operator.stored(relocation_id)
        assert (paused.status, paused.step.name) == ("PAUSED", step)
        if then:
            operator.run("unpause", relocation_id, *then)
            operator.until(lambda: operator.stored(relocation_id).status == "IN_PROGRESS")
    assert operator.imported(relocation_id) == 0
    answer = operator.api("POST", f"flow_runs/{relocation_id}/resume").json()
    assert answer["status"] == "ACCEPT"
    shown = operator.ended(relocation_id)
    assert shown["status"] == "SUCCESS"
    assert [event["what"] for event in shown["story"]].count("PAUSED") == 2


def test_cancel_in_the_prefect_ui_ends_it_and_rolls_it_back(operator: Operator) -> None:
    relocation_id = operator.submitted("cancelled", "emil")
    operator.begun(relocation_id)
    _set_state(operator, relocation_id, "CANCELLING", "Cancelling")
    shown = operator.ended(relocation_id)
    assert shown["status"] == "CANCELLED"
    assert {notice["kind"] for notice in shown["notices"]} == {"STARTED", "CANCELLED"}
    assert operator.imported(relocation_id) == 0
    operator.until(lambda: _state(operator, relocation_id) == "Cancelled")


def test_an_abort_ends_it_in_the_middle_of_a_step(operator: Operator) -> None:
    """A-133."""
    relocation_id = operator.submitted("aborted", "emil", projects=2000)
    operator.begun(relocation_id)
    operator.run("abort", relocation_id)
    shown = operator.ended(relocation_id)
    assert shown["status"] == "CANCELLED"
    assert operator.imported(relocation_id) == 0
    assert "ended" in operator.run("abort", relocation_id, code=1).stderr

    mine = {"filter": {"resource": {"id": [f"relocation.{relocation_id}"]}}}

    def announced() -> bool:
        events = operator.api("POST", "events/filter", mine).json()["events"]
        return {event["event"] for event in events} == {
            "relocation.started",
            "relocation.cancelled",
        }

    operator.until(announced)

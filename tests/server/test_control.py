"""Pause, cancel, abort and go on, by the command line and by what the Prefect UI does."""

from service_operator import Operator


def _set_state(operator: Operator, relocation_id: str, kind: str, name: str) -> None:
    body = {"state": {"type": kind, "name": name}, "force": False}
    operator.api("POST", f"flow_runs/{relocation_id}/set_state", body)


def _state(operator: Operator, relocation_id: str) -> str:
    return str(operator.api("GET", f"flow_runs/{relocation_id}").json()["state"]["name"])


def test_a_paused_relocation_waits_twice_for_unpause_and_for_resume_in_the_ui(
    operator: Operator,
) -> None:
    """A-131, A-134. Prefect refuses to suspend a run twice under one key, and says nothing."""
    relocation_id = operator.submitted("paused", "dora", projects=2000)
    operator.begun(relocation_id, "receive_archive")
    operator.run("pause", relocation_id, "--before", "POSTPROCESSING")  # after the long one
    for step, then in (("POSTPROCESSING", ("--before", "REVEALING")), ("REVEALING", None)):
        operator.until(lambda: operator.stored(relocation_id).suspended_since)
        assert operator.stored(relocation_id).step.name == step
        assert _state(operator, relocation_id) == "Suspended"
        operator.sweep()
        paused = operator.stored(relocation_id)
        assert (paused.status, paused.step.name) == ("PAUSED", step)
        if then:
            assert "paused" in operator.run("recover", relocation_id, code=1).stderr
            operator.run("unpause", relocation_id, *then)
            operator.until(lambda: operator.stored(relocation_id).status == "IN_PROGRESS")
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

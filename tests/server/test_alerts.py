"""What no flow of ours can tell, Prefect's automations do: seen with no worker at all."""

import re
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from mail_parts import text_of
from service_operator import Operator

LATE = "A relocation does not start"


@pytest.fixture
def impatient(operator: Operator) -> Iterator[Operator]:
    """The operator's service, whose alert of late runs waits ten seconds instead of minutes."""
    found = operator.api("POST", "automations/filter", {}).json()
    (written,) = [one for one in found if one["name"] == LATE]
    path = f"automations/{written['id']}"
    kept = {
        name: written[name] for name in ("name", "description", "enabled", "trigger", "actions")
    }
    shorter = {**kept, "trigger": {**kept["trigger"], "within": 10}}
    operator.api("PUT", path, shorter)
    yield operator
    if operator.worker.poll() is not None:
        operator.worker = operator.start_worker()
    operator.api("PUT", path, kept)


def _alerts(operator: Operator, subject: str) -> list[EmailMessage]:
    messages = [mail.message for mail in operator.inbox.messages()]
    return [one for one in messages if subject in str(one["Subject"])]


def test_without_a_worker_the_operator_is_alerted_of_that_and_of_the_run_that_is_late(
    impatient: Operator,
) -> None:
    """Prefect finds both by itself, and its own notifications tell: no process of ours runs."""
    operator = impatient
    told = {subject: len(_alerts(operator, subject)) for subject in ("ready", "does not start")}
    pool = "work_pools/relocation"
    operator.until(lambda: operator.api("GET", pool).json()["status"] == "READY")
    operator.lose_worker()
    archive = str(operator.archive("late.tar"))
    late = operator.json("submit", archive, "-o", "acme", "--owner", "gerd")["id"]

    def new(subject: str) -> list[EmailMessage]:
        return _alerts(operator, subject)[told[subject] :]

    (mail,) = operator.until(lambda: new("ready"))
    assert mail["Subject"] == "Relocation: no worker is ready"
    assert mail["To"] == "operator@relocation.example.org"
    assert "prefect worker start --pool relocation" in text_of(mail)
    assert re.search(r"/work-pools/work-pool/\S+", text_of(mail))
    assert re.search(r"Noticed: +\d{4}-\d\d-\d\d \d\d:\d\d UTC", text_of(mail))
    (mail,) = operator.until(lambda: new("does not start"))
    assert f"/flow-run/{late}" in text_of(mail)
    assert "relocation doctor" in text_of(mail)
    assert re.search(r"Noticed: +\d{4}-\d\d-\d\d \d\d:\d\d UTC", text_of(mail))
    assert operator.find(late) is None

    operator.worker = operator.start_worker()
    assert operator.ended(late)["status"] == "SUCCESS"
    assert len(new("ready")) == len(new("does not start")) == 1

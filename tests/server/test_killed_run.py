"""A run whose process is killed is settled by the worker, and told."""

import os
import signal
from typing import Any

from relocation.example import example_export


def test_a_killed_run_is_settled_and_told(operator: Any) -> None:
    archive = operator.archive("large.tar", example_export(organizations=1, projects=400))
    relocation_id = operator.json("submit", str(archive), "-o", "acme", "--owner", "nadia")["id"]

    def process() -> int | None:
        one = operator.find(relocation_id)
        if one is None or one.task != "import_organizations":
            return None
        return int(operator.tries(relocation_id)[-1].worker.rpartition(":")[2])

    os.kill(operator.until(process), signal.SIGKILL)
    shown = operator.ended(relocation_id)
    assert (shown["status"], shown["failed_task"]) == ("FAILURE", "import_organizations")
    assert shown["tries"][-1]["outcome"] == "INTERRUPTED"
    assert [n["kind"] for n in shown["notices"] if n["kind"] != "STARTED"] == ["FAILED"]

"""Keep what a comparison found where people look for it, and refuse what differs."""

from collections.abc import Sequence

from relocation.errors import DifferencesError
from relocation.findings import Finding
from relocation.ledger.reports import keep_report
from relocation.steps import Task
from tasks.artifacts import show_findings
from tasks.relocation_task import Work

_QUOTED = 20


def refuse_differences(work: Work, task: Task, findings: Sequence[Finding], reason: str) -> None:
    """Keep all findings in the ledger; raises DifferencesError where there are any."""
    report = {"findings": [finding.as_json() for finding in findings]}
    keep_report(work.resources.ledger, work.hold, task, report)
    if findings:
        show_findings(work.hold.relocation_id, findings)
        raise DifferencesError(
            reason,
            findings=findings,
            internal="; ".join(str(finding.as_json()) for finding in findings[:_QUOTED]),
        )

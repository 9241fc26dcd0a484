"""VALIDATING and IMPORTING: what would arrive, and what did, is compared with the archive."""

from collections.abc import Sequence

from relocation.database import database_now
from relocation.errors import DifferencesError
from relocation.findings import Finding
from relocation.ledger.reports import keep_report
from relocation.ledger.results import ImportTried, ImportVerified
from relocation.steps import Task
from relocation.text import counted
from relocation.transfer.compare.arrival import verify_import as verify
from relocation.transfer.dry_run.trial import try_import as trial
from relocation.transfer.load.mappings import mapping_findings
from tasks.artifacts import Progress, show_findings
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import open_files

_QUOTED = 20


@relocation_task(Task.VALIDATE)
def try_import(work: Work) -> Done:
    """Import into a scratch database, export all of it again, and compare; differences refuse.

    The scratch database has the destination's own tables and is always removed.
    """
    relocation_id = work.hold.relocation_id
    by_hand = mapping_findings(work.resources.destination)
    if by_hand:
        show_findings(relocation_id, by_hand)
        work.log.warning("%s", by_hand[0].reason)
    source = open_files(work, Task.SCAN_EXPORT)
    report = trial(
        work.resources.destination,
        source,
        baseline=open_files(work, Task.CAPTURE_BASELINE),
        colliding=open_files(work, Task.CAPTURE_COLLIDING_USERS),
        relocation_id=relocation_id,
        plan=work.relocation.request.plan,
        chunk_records=work.settings.chunk_records,
        folder=work.settings.home / "scratch",
        progress=Progress("Trial import", relocation_id, sum(map(source.count, source.models()))),
    )
    _refuse_differences(
        work,
        Task.VALIDATE,
        report.findings,
        f"The trial import found {counted(len(report.findings), 'difference')} between the "
        "export and what would arrive.",
    )
    return Done(ImportTried(by_hand=tuple(by_hand)))


@relocation_task(Task.VERIFY_IMPORT)
def verify_import(work: Work) -> Done:
    """Read what arrived out of the destination and compare it; differences leave it hidden.

    Tried again after a difference, it looks again.
    """
    source = open_files(work, Task.SCAN_EXPORT)
    findings = verify(work.resources.destination, source, work.hold.relocation_id)
    _refuse_differences(
        work,
        Task.VERIFY_IMPORT,
        findings,
        f"What arrived differs from the archive in {counted(len(findings), 'place')}. "
        "The organizations stay hidden.",
    )
    return Done(ImportVerified())


def _refuse_differences(work: Work, task: Task, findings: Sequence[Finding], reason: str) -> None:
    """Keep all findings in the ledger; raises DifferencesError where there are any."""
    report = {"findings": [finding.as_json() for finding in findings]}
    ledger = work.resources.ledger
    keep_report(ledger, work.hold, task, report, database_now(ledger))
    if findings:
        show_findings(work.hold.relocation_id, findings)
        raise DifferencesError(
            reason,
            findings=findings,
            internal="; ".join(str(finding.as_json()) for finding in findings[:_QUOTED]),
        )

"""VALIDATING: the import is tried in a scratch database, and what arrived is compared."""

from relocation.results import ImportTried
from relocation.steps import Task
from relocation.text import counted
from relocation.transfer.dry_run.trial import try_import as trial
from relocation.transfer.load.mappings import mapping_findings
from tasks.artifacts import Progress, show_findings
from tasks.differences import refuse_differences
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import open_files


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
    refuse_differences(
        work,
        Task.VALIDATE,
        report.findings,
        f"The trial import found {counted(len(report.findings), 'difference')} between the "
        "export and what would arrive.",
    )
    return Done(ImportTried(by_hand=tuple(by_hand)))

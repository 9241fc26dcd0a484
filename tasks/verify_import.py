"""IMPORTING: what arrived is compared with the archive, while nobody sees it yet."""

from relocation.results import ImportVerified
from relocation.steps import Task
from relocation.text import counted
from relocation.transfer.compare.arrival import verify_import as verify
from tasks.differences import refuse_differences
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import open_files


@relocation_task(Task.VERIFY_IMPORT)
def verify_import(work: Work) -> Done:
    """Read what arrived out of the destination and compare it; differences leave it hidden.

    Tried again after a difference, it looks again.
    """
    source = open_files(work, Task.SCAN_EXPORT)
    findings = verify(work.resources.destination, source, work.hold.relocation_id)
    refuse_differences(
        work,
        Task.VERIFY_IMPORT,
        findings,
        f"What arrived differs from the archive in {counted(len(findings), 'place')}. "
        "The organizations stay hidden.",
    )
    return Done(ImportVerified())

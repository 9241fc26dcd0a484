"""Results with which tests let a task be done."""

from relocation.ledger.results import (
    ArchiveReceived,
    ExportScanned,
    OrganizationsImported,
    RelocationCompleted,
    SourceExported,
    TaskResult,
)
from relocation.steps import Task

RESULTS = {result.task: result for result in TaskResult.__subclasses__()}
_RESULTS: dict[Task, TaskResult] = {
    one.task: one
    for one in (
        SourceExported(records=0, bytes=0),
        ArchiveReceived(bytes=0),
        ExportScanned((), (), {}, {}, {}, ()),
        OrganizationsImported({}, ()),
    )
}

COMPLETED = RelocationCompleted((), 0)


def result_of(task: Task) -> TaskResult:
    """Return a result of the task that says nothing."""
    return _RESULTS.get(task) or (COMPLETED if task is Task.COMPLETE else RESULTS[task]())

"""IMPORTING: the organizations arrive, hidden."""

from relocation.errors import ExportError
from relocation.ledger.results import OrganizationsImported
from relocation.steps import Task
from relocation.transfer.load.importing import import_records
from relocation.transfer.load.mappings import mapping_findings
from tasks.artifacts import Progress, show_accounts, show_findings
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import open_files


@relocation_task(Task.IMPORT_ORGANIZATIONS)
def import_organizations(work: Work) -> Done:
    """Import the organizations, hidden, chunk by chunk; a rerun goes on after the last chunk."""
    relocation_id = work.hold.relocation_id
    source = open_files(work, Task.SCAN_EXPORT)
    report = import_records(
        work.resources.destination,
        source,
        relocation_id=relocation_id,
        fence=work.hold.fence,
        plan=work.relocation.request.plan,
        chunk_records=work.settings.chunk_records,
        progress=Progress("Import", relocation_id, sum(map(source.count, source.models()))),
    )
    show_accounts(relocation_id, report.accounts)
    show_findings(relocation_id, [*mapping_findings(work.resources.destination), *report.findings])
    if not report.inserted("sentry.organization"):
        raise ExportError("No organization of the export could be imported.")
    return Done(OrganizationsImported(report.accounts, report.findings))

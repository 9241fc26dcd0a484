"""PREPROCESSING: the export is opened, checked and brought into its working form."""

from datetime import UTC, datetime

from relocation.archive.envelope import open_export
from relocation.archive.keys import public_key_of
from relocation.archive.records import read_records
from relocation.database import database_now
from relocation.ledger.reports import keep_report
from relocation.ledger.results import ExportScanned, SourceExported
from relocation.ledger.tries import done_result
from relocation.notices.success import started_drafts
from relocation.steps import Task
from relocation.transfer.prepare.origin import Origin
from relocation.transfer.prepare.scan import scan_export as scan
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import files_of, open_files


@relocation_task(Task.SCAN_EXPORT)
def scan_export(work: Work) -> Done:
    """Unwrap, decrypt, normalise and check the export; the STARTED notice goes with its success."""
    settings, relocation, origin = work.settings, work.relocation, Origin()
    with work.resources.storage.open(relocation.archive) as archive:
        export = open_export(
            archive, work.resources.private_key, accept_plain=settings.accept_plain_exports
        )
        report = scan(
            origin.watch(read_records(export)),
            wanted=relocation.organizations,
            max_organizations=settings.max_organizations,
            max_users=settings.max_users,
            storage=work.resources.storage,
            prefix=files_of(Task.SCAN_EXPORT, work.hold),
            public_pem=public_key_of(work.resources.private_key),
        )
    form = open_files(work, Task.SCAN_EXPORT)
    # For longer than the working files: what a relocation left out is asked for later.
    left_out = {"left_out": form.facts["left_out"]}
    ledger = work.resources.ledger
    keep_report(ledger, work.hold, Task.SCAN_EXPORT, left_out, database_now(ledger))
    work.log.info(
        "The export of relocation %s holds %d records, %d of them to be moved",
        relocation.id,
        sum(report.read.values()),
        sum(report.selected.values()),
    )
    records = sum(report.selected.values())
    now = datetime.now(UTC)
    started = started_drafts(relocation, settings.operator_email, now, records=records)
    exported = done_result(work.resources.ledger, relocation.id, SourceExported)
    result = ExportScanned(
        organizations=report.organizations,
        usernames=report.usernames,
        read=report.read,
        selected=report.selected,
        skipped=report.skipped,
        findings=report.findings,
        left_behind=report.left_behind,
        lost_fields=report.lost_fields,
        old_host=origin.host or (exported.old_host if exported else ""),
    )
    return Done(result, started)

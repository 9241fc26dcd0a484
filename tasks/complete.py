"""COMPLETED: success, and everybody concerned is told, in one transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

from relocation.database import database_now
from relocation.findings import Finding
from relocation.ledger.reports import keep_report
from relocation.ledger.results import ExportScanned, RelocationCompleted
from relocation.ledger.tries import needed_result
from relocation.model import MovedOrganization
from relocation.notices.handover_kit import MAX_ATTACHED, kit_archive
from relocation.notices.labels import label
from relocation.notices.success import HandOver, claim_drafts, success_drafts
from relocation.steps import Task
from relocation.transfer.handover_facts import handover_facts
from relocation.transfer.load.importing import import_report
from relocation.transfer.load.ownership import issue_claims, moved_organizations
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import open_files


@relocation_task(Task.COMPLETE)
def complete(work: Work) -> Done:
    """Write the claim tokens, then record SUCCESS with its SUCCEEDED and CLAIM notices.

    A second try writes fresh tokens over the first ones; no notice has been recorded by then.
    """
    now = datetime.now(UTC)
    relocation_id = work.hold.relocation_id
    moved = moved_organizations(work.resources.destination, relocation_id)
    claims = issue_claims(work.resources.destination, relocation_id, work.hold.fence, now)
    report = import_report(work.resources.destination, relocation_id)
    scanned = needed_result(work.resources.ledger, relocation_id, ExportScanned)
    kit = _keep_kit(work, moved, scanned, report.findings)
    return Done(
        RelocationCompleted(tuple(organization.slug for organization in moved), len(claims)),
        [
            *success_drafts(
                work.relocation,
                moved,
                claims,
                left_behind=report.left_behind(scanned.left_behind),
                renamed_users=report.renamed_users,
                handover=kit,
                lost_fields=report.lost_fields(scanned.lost_fields),
                operator=work.settings.operator_email,
                now=now,
            ),
            *claim_drafts(
                work.relocation,
                claims,
                work.settings,
                now,
                old_host=scanned.old_host,
            ),
        ],
    )


def _keep_kit(
    work: Work,
    moved: Sequence[MovedOrganization],
    scanned: ExportScanned,
    findings: Sequence[Finding],
) -> HandOver:
    """Keep the facts of the hand-over kit: the archive's side of it goes with the working files."""
    resources, relocation_id = work.resources, work.hold.relocation_id
    facts = handover_facts(
        resources.destination,
        open_files(work, Task.SCAN_EXPORT),
        relocation_id,
        moved=moved,
        left_behind=scanned.left_behind,
        findings=findings,
        ingest_url=(work.settings.ingest_url or work.settings.base_url).rstrip("/"),
        label=label,
    )
    now = database_now(resources.ledger)
    keep_report(resources.ledger, work.hold, Task.COMPLETE, facts, now)
    attached = len(kit_archive(facts)) < MAX_ATTACHED
    return HandOver.ATTACHED if attached else HandOver.ON_REQUEST

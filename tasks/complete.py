"""COMPLETED: success, and everybody concerned is told, in one transaction."""

from datetime import UTC, datetime

from relocation.ledger.tries import done_result
from relocation.notices.success import claim_drafts, success_drafts
from relocation.steps import Task
from relocation.transfer.load.importing import import_report
from relocation.transfer.load.ownership import issue_claims, moved_organizations
from tasks.boundary import Done, Work, relocation_task


@relocation_task(Task.COMPLETE)
def complete(work: Work) -> Done:
    """Write the claim tokens, then record SUCCESS with its SUCCEEDED and CLAIM notices.

    A second try writes fresh tokens over the first ones; no notice has been recorded by then.
    """
    now = datetime.now(UTC)
    relocation_id = work.hold.relocation_id
    moved = moved_organizations(work.opened.destination, relocation_id)
    claims = issue_claims(work.opened.destination, relocation_id, work.hold.fence, now)
    report = import_report(work.opened.destination, relocation_id)
    scanned = done_result(work.opened.ledger, relocation_id, Task.SCAN_EXPORT) or {}
    return Done(
        {"organizations": [organization.slug for organization in moved], "claims": len(claims)},
        [
            *success_drafts(
                work.relocation,
                moved,
                claims,
                left_behind=report.left_behind(scanned),
                renamed_users=report.renamed_users,
                operator=work.settings.operator_email,
                now=now,
            ),
            *claim_drafts(work.relocation, claims, work.settings, now),
        ],
    )

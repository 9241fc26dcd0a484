"""The notices of a relocation that succeeded."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from relocation.ledger.relocations import Relocation
from relocation.notices.kinds import Draft, NoticeKind
from relocation.people import addressees
from relocation.settings import Settings
from relocation.transfer.importing import ImportReport
from relocation.transfer.ownership import Claim, MovedOrganization


def success_drafts(
    relocation: Relocation,
    moved: Sequence[MovedOrganization],
    report: ImportReport,
    claims: int,
    now: datetime,
) -> list[Draft]:
    """Return the SUCCEEDED notices for owner and creator."""
    context = {
        "organizations": [
            {"name": one.name, "slug": one.slug, "old_slug": one.old_slug} for one in moved
        ],
        "counts": {
            "members": sum(one.members for one in moved),
            "projects": sum(one.projects for one in moved),
            "keys": sum(one.keys for one in moved),
        },
        "not_moved": [
            {"model": model, "count": account.skipped + account.dropped}
            for model, account in report.accounts.items()
            if account.skipped + account.dropped
        ],
        "claims": claims,
        "happened_at": now.isoformat(timespec="seconds"),
    }
    return [Draft(NoticeKind.SUCCEEDED, to, context) for to in addressees(relocation)]


def claim_drafts(
    relocation: Relocation, claims: Sequence[Claim], settings: Settings, now: datetime
) -> list[Draft]:
    """Return a CLAIM notice for each imported user who still has to claim the account (R-22)."""
    valid_until = (now + timedelta(days=settings.claim_days)).isoformat(timespec="seconds")
    return [
        Draft(
            NoticeKind.CLAIM,
            claim.email,
            {
                "username": claim.username,
                "organizations": list(claim.organizations),
                "owner": relocation.owner,
                "claim_url": settings.claim_url.format(
                    base_url=settings.base_url.rstrip("/"),
                    user_id=claim.user_id,
                    token=claim.token,
                ),
                "valid_until": valid_until,
            },
            about=claim.username,
        )
        for claim in claims
        if claim.email
    ]

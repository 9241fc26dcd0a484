"""The notices of a relocation that goes well: STARTED, SUCCEEDED and CLAIM."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from relocation.model import Claim, MovedOrganization, Relocation
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.labels import label
from relocation.notices.recipients import mailable, people_drafts
from relocation.settings import Settings
from relocation.text import one_line

_MOST_FIELDS: Final = 10
"""Most fields that a mail tells one by one."""
_DURATIONS: Final = (
    (100_000, "a few minutes"),
    (1_000_000, "less than an hour"),
    (10_000_000, "a few hours"),
)
"""How many records are moved in which time."""
_SLUG = re.compile(r"(?!\d+\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class HandOver(StrEnum):
    """How the hand-over kit comes to the owner."""

    ATTACHED = "attached"
    ON_REQUEST = "on request"


def started_drafts(
    relocation: Relocation, operator: str, now: datetime, *, records: int
) -> list[NoticeDraft]:
    """Return the STARTED notices for owner and creator; `records` are to be moved."""
    context = {
        "expected": how_long(records),
        "reviewed": relocation.pause_before_step is not None,
        "organizations": list(relocation.organizations),
        "owner": relocation.owner,
        "creator": relocation.creator or relocation.owner,
        "happened_at": now.isoformat(timespec="seconds"),
    }
    return people_drafts(NoticeKind.STARTED, context, operator, about=relocation)


def success_drafts(
    relocation: Relocation,
    moved: Sequence[MovedOrganization],
    claims: Sequence[Claim],
    *,
    left_behind: Mapping[str, int],
    renamed_users: int = 0,
    handover: HandOver,
    operator: str,
    now: datetime,
    lost_fields: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> list[NoticeDraft]:
    """Return the SUCCEEDED notices for owner and creator; `left_behind` counts records by model.

    `lost_fields` counts by model and field the records that lost a field. Only claims that a mail
    can go to count as mailed.
    """
    mailed = sum(mailable(claim.email) for claim in claims)
    context = {
        "organizations": [
            {
                "name": organization.name,
                "slug": organization.slug,
                "old_slug": organization.old_slug,
                "renamed": "planned"
                if organization.old_slug in relocation.request.plan.slugs
                else renamed_because(organization.old_slug, organization.slug),
            }
            for organization in moved
        ],
        "counts": {
            "members": sum(organization.members for organization in moved),
            "projects": sum(organization.projects for organization in moved),
            "keys": sum(organization.keys for organization in moved),
        },
        "not_moved": [*not_moved(left_behind), *not_moved_fields(lost_fields)],
        "handover": handover.value,
        "claims": mailed,
        "claims_without_address": len(claims) - mailed,
        "renamed_users": renamed_users,
        "happened_at": now.isoformat(timespec="seconds"),
    }
    return people_drafts(NoticeKind.SUCCEEDED, context, operator, about=relocation)


def claim_drafts(
    relocation: Relocation,
    claims: Sequence[Claim],
    settings: Settings,
    now: datetime,
    *,
    old_host: str = "",
    editions: Mapping[str, int] | None = None,
) -> list[NoticeDraft]:
    """Return a CLAIM notice for each imported user who still has to claim the account (R-22).

    `now` is when the tokens were written, `old_host` where the organizations come from, as far as
    it is known. `editions` counts the claims that each user had before, by username.
    """
    valid_until = now + timedelta(hours=settings.claim_link_hours)
    editions = editions or {}
    return [
        NoticeDraft(
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
                "valid_until": valid_until.isoformat(timespec="seconds"),
                "old_host": old_host,
                "renewed": editions.get(claim.username, 0) > 0,
            },
            about=claim.username,
            edition=editions.get(claim.username, 0),
            valid_until=valid_until,
        )
        for claim in claims
        if mailable(claim.email)
    ]


def how_long(records: int) -> str:
    """Say how long a relocation of so many records takes, with a margin for slow databases."""
    for bound, words in _DURATIONS:
        if records <= bound:
            return words
    return "several hours"


def renamed_because(old_slug: str, slug: str) -> str:
    """Say why a slug was changed: "taken", "invalid", or "" where it was not (I-62)."""
    if slug == old_slug:
        return ""
    # A slug that was taken is kept, cut where too long, and gets a suffix.
    kept = slug.rpartition("-")[0]
    taken = kept and old_slug.startswith(kept) and _SLUG.fullmatch(old_slug)
    return "taken" if taken else "invalid"


def not_moved(left_behind: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what was left behind, given by model, in words and with its number, the most first."""
    left: Counter[str] = Counter()
    for model, count in left_behind.items():
        left[label(model)] += count
    return [{"what": what, "count": count} for what, count in left.most_common() if count]


def not_moved_fields(lost: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Return the fields that were left out, in words and with the number of their records."""
    ordered = Counter(lost).most_common()
    told = [
        {"what": f'values of the field "{one_line(field, limit=60)}" of {label(model)}', "count": n}
        for (model, field), n in ordered[:_MOST_FIELDS]
    ]
    if rest := sum(n for _, n in ordered[_MOST_FIELDS:]):
        told.append({"what": "values of other fields", "count": rest})
    return told

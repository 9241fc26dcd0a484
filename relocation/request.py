"""What a person asks for: the parameter of the relocate flow, and its form in the Prefect UI."""

import re

from pydantic import BaseModel, ConfigDict, Field

from relocation.errors import ArchiveError, LimitError, RequestError
from relocation.plan import Plan
from relocation.settings import Settings
from relocation.text import listed, one_line

_SLUG = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
_NEW_SLUG = re.compile(r"(?!\d+\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_MAX_SLUG = 50
_MAX_KEY = 500


class RelocationRequest(BaseModel):
    """Which organizations to move, from which archive, for whom."""

    # Plain data without bounds of its own: a request that breaks a rule must become a relocation
    # that failed with a reason and a mail, not a run that Prefect could not start.
    model_config = ConfigDict(title="Relocation request")

    archive: str = Field(
        default="",
        title="Archive",
        description="Its key in the relocation storage, such as archives/acme-export.tar; "
        "`relocation submit` uploads an archive and prints its key.",
        examples=["archives/acme-export.tar"],
    )
    source: str | None = Field(
        default=None,
        title="Live source",
        description="Instead of an archive: relocation-source, the block of the live database to "
        "export from.",
        examples=["relocation-source"],
    )
    organizations: list[str] = Field(
        title="Organizations",
        description="Slugs of the organizations to move, as they appear in the export, one each.",
        examples=[["acme"]],
    )
    owner: str = Field(
        title="Owner",
        description="Username in the destination of whoever will own the moved organizations.",
        examples=["olivia"],
    )
    creator: str | None = Field(
        default=None,
        title="Creator",
        description="Username in the destination of whoever requests this; defaults to the owner.",
        examples=["marcus"],
    )
    plan: Plan = Field(
        default_factory=Plan,
        title="Plan",
        description="Which users become existing accounts, and which slugs change; `relocation "
        "plan` proposes one.",
        examples=[{"users": {"olivia": 42}, "slugs": {"acme": "acme-eu"}}],
    )


def check_request(request: RelocationRequest, settings: Settings) -> None:
    """Refuse a request that cannot be carried out, whatever the archive holds.

    Raises RequestError or LimitError with the reason. The export itself is checked by the scan.
    """
    if request.source is not None:
        _check_source(request, settings)
    else:
        _check_archive(request.archive)
    check_slugs(request.organizations, settings)
    _check_plan(request.plan, request.organizations)


def _check_plan(plan: Plan, organizations: list[str]) -> None:
    """Refuse a plan that no destination could obey."""
    strange = sorted(plan.slugs.keys() - set(organizations))
    if strange:
        raise RequestError(
            f"The plan names organizations that are not being moved: {listed(strange, show=5)}."
        )
    bad = [slug for slug in plan.slugs.values() if not _is_new_slug(slug)]
    if bad:
        raise RequestError(
            f"The plan contains invalid slugs: {listed(bad, show=3)}. A new slug has lower-case "
            "letters, digits and hyphens, and is not all digits."
        )
    for what, targets in (("slug", plan.slugs.values()), ("account", plan.users.values())):
        if len(set(targets)) < len(targets):
            raise RequestError(f"In the plan, two become the same {what}. Each needs its own.")


def _is_new_slug(slug: str) -> bool:
    """Tell whether the destination takes this as the slug of a new organization."""
    return _NEW_SLUG.fullmatch(slug) is not None and len(slug) <= _MAX_SLUG


def _check_archive(key: str) -> None:
    if not key or len(key) > _MAX_KEY or key.startswith("/") or "\\" in key or "\0" in key:
        raise RequestError("The archive must be named by its key in the relocation storage.")
    if any(part in {"", ".", ".."} for part in key.split("/")) or "://" in key:
        raise RequestError("The archive must be inside the relocation storage.")


def _check_source(request: RelocationRequest, settings: Settings) -> None:
    """Refuse any source but the one that the settings name: no other block is ever opened."""
    if request.source != settings.source_block:
        raise RequestError(
            f"The only live source here is {settings.source_block}. Name that one, or an archive."
        )
    if request.archive:
        raise RequestError("Name either an archive or the live source, not both.")


def live_archive(relocation_id: str) -> str:
    """Return the key of the archive that a relocation makes of a live source."""
    return f"relocations/{relocation_id}/archive.tar"


def check_slugs(slugs: list[str], settings: Settings) -> None:
    """Refuse an empty, overlong or badly formed list of organization slugs (6.4.3, A-108)."""
    if not slugs:
        raise RequestError("Name at least one organization to move, by its slug.")
    bad = [slug for slug in slugs if len(slug) > _MAX_SLUG or not _SLUG.fullmatch(slug)]
    if bad:
        shown = listed([f'"{one_line(slug, limit=60)}"' for slug in bad], show=3)
        raise RequestError(
            f"Not a valid organization slug: {shown}. A slug consists of letters, digits, hyphens "
            "and underscores."
        )
    if len(set(slugs)) > settings.max_organizations:
        raise LimitError(
            f"{len(set(slugs))} organizations were requested, but one relocation can move at most "
            f"{settings.max_organizations}."
        )


def check_size(size: int, settings: Settings) -> None:
    """Refuse an archive that is empty or too large, by its number of bytes."""
    if size == 0:
        raise ArchiveError("The archive file is empty.")
    if size > settings.max_archive_bytes:
        raise LimitError(
            f"The archive has {size} bytes. The limit is {settings.max_archive_bytes}."
        )

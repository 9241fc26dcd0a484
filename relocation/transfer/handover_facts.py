"""Gather what changed for whoever uses what was relocated."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.findings import Finding, FindingKind
from relocation.model import MovedOrganization
from relocation.transfer.compare.arrival import Pairs, pairs_of
from relocation.transfer.database.exporting import PickedSource
from relocation.transfer.database.schema import reflect
from relocation.transfer.prepare.left_out import REASONS
from relocation.transfer.source import Source

_PROJECT: Final = "sentry.project"
_KEY: Final = "sentry.projectkey"
_USER: Final = "sentry.user"
_WHY: Final[Mapping[FindingKind, str]] = {
    **REASONS,
    FindingKind.DUPLICATE: "An earlier record has the same values, which must be unique.",
    FindingKind.EXISTING_USER: "Its user already existed and stays unchanged.",
    FindingKind.LOST_REFERENCE: "What it belongs to was not moved.",
}


def handover_facts(
    destination: Engine,
    source: Source,
    relocation_id: str,
    *,
    moved: Sequence[MovedOrganization],
    left_behind: Mapping[str, Mapping[FindingKind, int]],
    findings: Sequence[Finding],
    ingest_url: str,
    label: Callable[[str], str],
) -> dict[str, Any]:
    """Return the facts of a hand-over kit as plain JSON data.

    The source is what was imported, as the archive had it; `label` says what people call the
    records of a model. A key is not rewritable where it was taken, and a new one was made.
    """
    pairs = pairs_of(destination, relocation_id, source)
    models = [load_catalogue()[name] for name in (_PROJECT, _KEY, _USER)]
    arrived = PickedSource(
        destination,
        reflect(destination, models),
        lambda model: set(pairs.get(model, {}).values()),
    )
    return {
        "relocation_id": relocation_id,
        "ingest_url": ingest_url,
        "organizations": [
            {"old_slug": one.old_slug, "slug": one.slug, "id": one.id} for one in moved
        ],
        "keys": list(_keys(source, arrived, pairs, moved, ingest_url)),
        "usernames": list(_usernames(source, arrived, pairs)),
        "not_moved": list(_not_moved(left_behind, findings, label)),
    }


def _matched(
    source: Source, arrived: Source, pairs: Pairs, model: str
) -> Iterator[tuple[Record, Record]]:
    """Yield each record of a model that arrived, before and after."""
    here = {record.pk: record for record in arrived.records(model)}
    for before in source.records(model):
        after = here.get(pairs.get(model, {}).get(before.pk, 0))
        if after is not None:
            yield before, after


def _keys(
    source: Source,
    arrived: Source,
    pairs: Pairs,
    moved: Sequence[MovedOrganization],
    ingest_url: str,
) -> Iterator[dict[str, Any]]:
    projects = {record.pk: record for record in arrived.records(_PROJECT)}
    slugs = {one.id: one.slug for one in moved}
    for before, after in _matched(source, arrived, pairs, _KEY):
        project = projects.get(after.fields["project"])
        if project is None:
            continue
        public_key = after.fields["public_key"]
        yield {
            "organization": slugs.get(project.fields["organization"], ""),
            "project": project.fields["slug"],
            "label": after.fields.get("label"),
            "old_project_id": before.fields["project"],
            "project_id": project.pk,
            "old_public_key": before.fields.get("public_key"),
            "public_key": public_key,
            "dsn": _dsn(ingest_url, public_key, project.pk),
            "rewritable": before.fields.get("public_key") == public_key,
        }


def _dsn(ingest_url: str, public_key: str, project_id: int) -> str:
    parts = urlsplit(ingest_url)
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{public_key}@{parts.netloc}{path}/{project_id}"


def _usernames(source: Source, arrived: Source, pairs: Pairs) -> Iterator[dict[str, Any]]:
    for before, after in _matched(source, arrived, pairs, _USER):
        old, new = before.fields.get("username"), after.fields.get("username")
        if old != new:
            yield {"old_username": old, "username": new}


def _not_moved(
    left_behind: Mapping[str, Mapping[FindingKind, int]],
    findings: Sequence[Finding],
    label: Callable[[str], str],
) -> Iterator[dict[str, Any]]:
    """Yield what was left behind of the organizations: the numbers of others are theirs."""
    counts: Counter[tuple[str, FindingKind]] = Counter()
    for model, causes in left_behind.items():
        for cause, count in causes.items():
            counts[model, cause] += count
    counts.update((one.model, one.kind) for one in findings if one.pk is not None)
    for (model, kind), count in sorted(counts.items()):
        if kind in _WHY and kind is not FindingKind.NOT_REQUESTED:
            yield {"what": label(model), "count": count, "why": _WHY[kind]}

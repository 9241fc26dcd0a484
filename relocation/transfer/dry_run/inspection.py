"""Look into an archive without any destination: what it holds, and what a relocation would say."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from relocation.archive.any_export import AnyExport, open_any_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record, read_records
from relocation.archive.storage import FolderStorage
from relocation.catalogue import load_catalogue
from relocation.errors import ConfigurationError, PermanentError
from relocation.findings import Finding, FindingKind
from relocation.request import check_size, check_slugs
from relocation.settings import Settings
from relocation.text import one_line
from relocation.transfer.dry_run.rehearsal import rehearse
from relocation.transfer.load.chunks import ImportReport
from relocation.transfer.prepare.key_table import natural_key
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import ScanReport, check_limits, scan_export

_ORGANIZATION: Final = "sentry.organization"
_MEMBER: Final = "sentry.organizationmember"
_USER: Final = "sentry.user"
_NO_LIMIT: Final = 2**63
_MOST_UNKNOWN: Final = 200
"""Most names of unknown models that are counted one by one."""
_REST: Final = "(others)"
_KEY_BITS: Final = 2048
_FORM: Final = "export"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass
class Contents:
    """What was read of an export so far."""

    records: Counter[str] = field(default_factory=Counter)
    """By model, those outside the catalogue too."""
    organizations: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Slug and name by primary key."""
    members: Counter[int] = field(default_factory=Counter)
    """By organization; invitations that nobody has accepted do not count."""
    oldest: str | None = None
    newest: str | None = None
    """When records were added, as an export writes it."""
    natural_keys: bool = False
    """Whether members are references by username, as in very old files (T-13)."""
    complete: bool = False
    """Whether it was read to its end."""
    ordered: bool = True
    """Whether each model comes in one run, after those it refers to (T-12)."""
    _awaited: set[str] = field(default_factory=set)
    """The models that those read so far refer to."""

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on, and take note of them."""
        last, name = "", ""
        for record in records:
            if record.model != last:
                last, name = record.model, self._enter(record)
            self.records[name] += 1
            if name == _MEMBER:
                self._note_member(record.fields)
            elif name == _ORGANIZATION:
                slug, title = (str(record.fields.get(key) or "") for key in ("slug", "name"))
                self.organizations.setdefault(record.pk, (slug, title))
            added = record.fields.get("date_added")
            if isinstance(added, str):
                self._note_date(added)
            yield record
        self.complete = True

    def in_order(self) -> dict[str, int]:
        """Return the numbers of records in dependency order, unknown models last."""
        known = [model for model in load_catalogue() if model in self.records]
        return {name: self.records[name] for name in (*known, *self.unknown())}

    def unknown(self) -> list[str]:
        """Return the models that this version does not know, sorted."""
        return sorted(self.records.keys() - load_catalogue().keys())

    def _enter(self, record: Record) -> str:
        """Begin a run of one model; returns the name to count it under."""
        catalogue = load_catalogue()
        model = catalogue.get(record.model)
        if model is None:
            name = one_line(record.model, limit=100)
            crowded = name not in self.records and len(self.unknown()) >= _MOST_UNKNOWN
            return _REST if crowded else name
        if record.model in self.records or record.model in self._awaited:
            self.ordered = False
        self._awaited.update(key.to for key in model.foreign_keys.values() if key.to != model.name)
        return record.model

    def _note_member(self, fields: dict[str, Any]) -> None:
        organization, user = fields.get("organization"), fields.get("user_id")
        if isinstance(organization, int) and user is not None:
            self.members[organization] += 1
        if natural_key(user) is not None:
            self.natural_keys = True

    def _note_date(self, added: str) -> None:
        if (self.newest is None or added > self.newest) and _DATE.fullmatch(added):
            self.newest = added
        if (self.oldest is None or added < self.oldest) and _DATE.fullmatch(added):
            self.oldest = added


@dataclass(frozen=True)
class Loss:
    """Findings of one kind about one model, or one field of it."""

    kind: FindingKind
    model: str
    field: str | None
    reason: str
    """Of the first."""
    records: int | None
    """None where the reason gives the number."""
    pks: tuple[int, ...]


@dataclass(frozen=True)
class Inspection:
    """What an archive is, and what would become of it."""

    size: int
    encrypted: bool | None
    """None where it is neither an archive nor a plain export."""
    encrypted_at: datetime | None
    fingerprint: str | None
    """Of the public key that it is encrypted to."""
    contents: Contents
    scan: ScanReport | None
    """None where the export cannot be read, or does not hold what was asked for."""
    rehearsal: ImportReport | None
    refusal: PermanentError | None

    @property
    def reason(self) -> str | None:
        """Why it would be refused, for whoever prepares it."""
        if isinstance(self.refusal, ConfigurationError):
            # Of the rehearsal: its database is ours, not an operator's.
            return self.refusal.internal or self.refusal.reason
        return self.refusal.reason if self.refusal else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found about records, by the scan and by the import."""
        parts = (self.scan, self.rehearsal)
        return tuple(finding for part in parts if part for finding in part.findings)

    def losses(self) -> list[Loss]:
        """Return the findings by kind, model and field."""
        groups: defaultdict[tuple[FindingKind, str, str | None], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            groups[finding.kind, finding.model, finding.field].append(finding)
        return [self._loss(found) for found in groups.values()]

    def _loss(self, found: Sequence[Finding]) -> Loss:
        first = found[0]
        records: int | None = sum(finding.records or 1 for finding in found)
        if self.scan and first in self.scan.findings:
            scanned = self.scan.skipped.get(first.model, {}).get(first.kind)
            records = None if first.field else scanned
        pks = tuple(finding.pk for finding in found if finding.pk is not None)
        return Loss(first.kind, first.model, first.field, first.reason, records, pks)

    @property
    def format(self) -> str:
        """What kind of file it is."""
        names = {True: "encrypted archive", False: "plain export", None: "no readable export"}
        return names[self.encrypted]

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data."""
        contents, scan = self.contents, self.scan
        wanted = {found.pk for found in scan.organizations} if scan else set()
        return {
            "accepted": self.reason is None,
            "reason": self.reason,
            "format": self.format,
            "bytes": self.size,
            "encrypted_at": self.encrypted_at,
            "key_fingerprint": self.fingerprint,
            "oldest_record": contents.oldest,
            "newest_record": contents.newest,
            "complete": contents.complete,
            "natural_keys": contents.natural_keys,
            "in_dependency_order": contents.ordered,
            "organizations": [
                {
                    "pk": pk,
                    "slug": slug,
                    "name": name,
                    "members": contents.members[pk],
                    "to_move": pk in wanted,
                }
                for pk, (slug, name) in contents.organizations.items()
            ],
            "users": contents.records[_USER],
            "users_to_move": scan.selected.get(_USER, 0) if scan else None,
            "records": contents.in_order(),
            "unknown_models": contents.unknown(),
            "to_move": dict(scan.selected) if scan else None,
            "left_out": scan.as_json()["skipped"] if scan else None,
            "imported": self.rehearsal.as_json()["accounts"] if self.rehearsal else None,
            "findings": [finding.as_json() for finding in self.findings],
        }


def inspect_archive(
    path: Path,
    *,
    private_pem: str | None,
    wanted: Sequence[str],
    settings: Settings,
    progress: Callable[[str, int], None],
) -> Inspection:
    """Read an archive or a plain export as a relocation of the wanted organizations would.

    Wants all organizations where none are named. Every check of a relocation that needs no
    destination is made, and the first to fail is the reason; working files are encrypted for a key
    that is never written, and removed at the end. Raises OSError where the file cannot
    be read, KeyNeededError where a key is needed.
    """
    size, contents = path.stat().st_size, Contents()
    export: AnyExport | None = None
    scan: ScanReport | None = None
    rehearsal: ImportReport | None = None
    refusals: list[PermanentError] = []
    with (
        path.open("rb") as archive,
        TemporaryDirectory(prefix="relocation-") as folder,
        _noting(refusals),
    ):
        check_size(size, settings)
        own_key = create_private_key(_KEY_BITS)
        export = open_any_export(archive, private_pem, own_key=own_key)
        storage = FolderStorage(Path(folder))
        if wanted:
            with _noting(refusals):
                check_slugs(list(wanted), settings)
        scan = scan_export(
            contents.watch(read_records(export.text)),
            wanted=list(wanted) or None,
            max_organizations=_NO_LIMIT,
            max_users=_NO_LIMIT,
            storage=storage,
            prefix=_FORM,
            public_pem=public_key_of(own_key),
        )
        with _noting(refusals):
            check_slugs([found.slug for found in scan.organizations], settings)
            check_limits(
                scan, max_organizations=settings.max_organizations, max_users=settings.max_users
            )
        rehearsal = rehearse(
            open_normalised(storage, _FORM, own_key),
            chunk_records=settings.chunk_records,
            progress=progress,
        )
    return Inspection(
        size=size,
        encrypted=export.encrypted if export else None,
        encrypted_at=export.encrypted_at if export else None,
        fingerprint=export.fingerprint if export else None,
        contents=contents,
        scan=scan,
        rehearsal=rehearsal,
        refusal=refusals[0] if refusals else None,
    )


@contextmanager
def _noting(refusals: list[PermanentError]) -> Iterator[None]:
    """Go on after a refusal, having noted it."""
    try:
        yield
    except PermanentError as err:
        refusals.append(err)

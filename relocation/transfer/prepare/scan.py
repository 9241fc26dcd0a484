"""Read an export once: normalise it, choose what is wanted, and refuse what cannot be moved."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson

from relocation.archive.records import Record
from relocation.archive.storage import Storage
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import ExportError, LimitError, MissingOrganizationError, PermanentError
from relocation.findings import Finding, FindingKind
from relocation.model import ExportedOrganization
from relocation.text import listed, one_line
from relocation.transfer.bulk import bulk_work
from relocation.transfer.load.rules import row_scope
from relocation.transfer.plain_fields import is_plain, may_move
from relocation.transfer.prepare.belonging import Belonging
from relocation.transfer.prepare.left_out import LeftOut
from relocation.transfer.prepare.normalised import NormalisedWriter, encode_record
from relocation.transfer.prepare.selection import Selected, Selection
from relocation.transfer.prepare.suspects import Suspects

_REMOVED_MODELS = {
    "sentry.alertruleexcludedprojects",
    "sentry.alertruletriggerexclusion",
    "sentry.incidentsubscription",
    "sentry.monitorlocation",
    "sentry.organizationmapping",
    "sites.site",
}
"""What old files hold and no supported version knows any more (T-13, T-15, S-8)."""
_REMOVED_FIELDS = {
    ("sentry.team", "org_role"),
}
_TOLD_ELSEWHERE = {("sentry.team", "actor")}
"""Fields that say what another record says too: an actor names its team."""
_TWO_SCOPES = {"sentry.alertruletriggeraction", "sentry.notificationaction"}
"""Models of which some rows are out of Organization scope (S-4)."""

_MOST_UNKNOWN = 200
"""Most names of unknown models, and of unknown fields, that are reported one by one."""
_LONGEST_NAME = 63
"""Characters of a column's name."""
_REST = "(others)"
_AT_ONCE = 100
"""Records of one model that are taken in together, which is quicker than one by one."""
_BYTES_AT_ONCE = 128 * 1024
"""Most of their text, save where a single one is longer: it takes many times as much in memory."""


@dataclass(frozen=True)
class ScanReport:
    """What an export holds, and what of it is to be moved; counts are of records, by model."""

    organizations: tuple[ExportedOrganization, ...]
    usernames: tuple[str, ...]
    """Of the users to be moved, sorted."""
    read: Mapping[str, int]
    selected: Mapping[str, int]
    skipped: Mapping[str, Mapping[FindingKind, int]]
    """By cause; for each model read = selected + skipped."""
    findings: tuple[Finding, ...]
    left_behind: Mapping[str, Mapping[FindingKind, int]]
    """What of `skipped` belongs to the organizations: all of it that anybody else may be told."""
    lost_fields: tuple[tuple[str, str, int], ...]
    """Model and field with the number of their records that lose it."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        return {
            "organizations": [asdict(organization) for organization in self.organizations],
            "usernames": list(self.usernames),
            "read": dict(self.read),
            "selected": dict(self.selected),
            "skipped": {
                model: {kind.value: count for kind, count in counts.items()}
                for model, counts in self.skipped.items()
            },
            "findings": [finding.as_json() for finding in self.findings],
            "left_behind": {
                model: {kind.value: count for kind, count in counts.items()}
                for model, counts in self.left_behind.items()
            },
            "lost_fields": [list(one) for one in self.lost_fields],
        }


@bulk_work()
def scan_export(
    records: Iterable[Record],
    *,
    wanted: Sequence[str] | None,
    max_organizations: int,
    max_users: int,
    storage: Storage,
    prefix: str,
    public_pem: str,
) -> ScanReport:
    """Write the in-scope records to a normalised form and select those of the wanted slugs.

    None wants all organizations there are. The records may come in any order (T-12, W-20). The
    facts of the form are the report as JSON. Idempotent. Raises PermanentError when the export is
    refused (6.4.3); then there is no form.
    """
    writer = NormalisedWriter(storage, prefix, public_pem)
    try:
        intake = _Intake(writer)
        intake.take(records)
        selected = _choose(intake, wanted)
        report = intake.report(selected)
        check_limits(report, max_organizations=max_organizations, max_users=max_users)
        facts = report.as_json() | {"left_out": intake.left_out.as_json()}
    except PermanentError:
        writer.discard()
        raise
    writer.close(selected.flags, intake.selection.natural_keys(), **facts)
    return report


class _Intake:
    """Admit records to the normalised form, and account for the others."""

    def __init__(self, writer: NormalisedWriter) -> None:
        self.selection = Selection()
        self._writer = writer
        self._read: Counter[str] = Counter()
        self.left_out = LeftOut()
        self._belonging = Belonging()
        self._stripped: Counter[tuple[str, str]] = Counter()
        self._kept: set[tuple[str, str]] = set()
        self._first_repeated: dict[str, int] = {}
        self._suspects = Suspects()
        self._fields = {
            model.name: frozenset(model.fields)
            for model in load_catalogue().admitted(Scope.ORGANIZATION)
        }

    def take(self, records: Iterable[Record]) -> None:
        """Take in all records; raises PermanentError at a number that no database takes."""
        for model, run in groupby(records, key=itemgetter(0)):
            known = self._fields.get(model)
            if known is not None:
                self._take_run(model, run, known)
                continue
            for record in run:
                self._skip_model(record)

    def _take_run(self, model: str, run: Iterable[Record], known: frozenset[str]) -> None:
        """Take in records of one in-scope model: some together, as long as their text is short."""
        global_at_times = model in _TWO_SCOPES
        some: list[Record] = []
        lines: list[bytes] = []
        read = size = 0
        for record in run:
            read += 1
            kept = record if known.issuperset(record.fields) else self._strip(record, known)
            if global_at_times and self._is_global(kept):
                continue
            try:
                lines.append(encode_record(kept))
            except orjson.JSONEncodeError:
                self._take_some(model, some, lines)
                some, lines, size = [], [], 0
                self._take_one(kept)
                continue
            some.append(kept)
            size += len(lines[-1])
            if size > _BYTES_AT_ONCE or len(some) == _AT_ONCE:
                self._take_some(model, some, lines)
                some, lines, size = [], [], 0
        self._take_some(model, some, lines)
        self._read[model] += read

    def _take_some(self, model: str, records: list[Record], lines: list[bytes]) -> None:
        """Take in records, with the lines that stand for them."""
        if not records:
            return
        self._suspects.look(model, records)
        try:
            together = self.selection.add_all(model, records)
        except OverflowError:
            together = False
        if together:
            self._writer.add_lines(model, lines)
            return
        for record in records:
            self._take_one(record)

    def _take_one(self, record: Record) -> None:
        try:
            if self.selection.add(record):
                self._writer.add(record)
            else:
                self.left_out.add(record.model, FindingKind.REPEATED_RECORD, record.pk)
                self._belonging.repeat(record.model, record.pk)
                self._first_repeated.setdefault(record.model, record.pk)
        except (orjson.JSONEncodeError, OverflowError) as err:
            raise ExportError(
                f"The export's {record.model} {record.pk} contains a value that can't be stored.",
                internal=str(err),
            ) from err

    def report(self, selected: Selected) -> ScanReport:
        """Return the account of all records taken in."""
        return ScanReport(
            organizations=selected.organizations,
            usernames=selected.usernames,
            read=dict(self._read),
            selected={
                model: count for model, flags in selected.flags.items() if (count := sum(flags))
            },
            skipped=self.left_out.counts(),
            findings=(
                *self._model_findings(),
                *self._field_findings(),
                *self._suspects.findings(),
            ),
            left_behind=self._belonging.left_behind(
                self.selection, {one.slug for one in selected.organizations}
            ),
            lost_fields=tuple(self._belonging.lost_fields(self.selection)),
        )

    def _skip_model(self, record: Record) -> None:
        model = record.model
        if model in load_catalogue():
            kind = FindingKind.OUT_OF_SCOPE
        elif model in _REMOVED_MODELS:
            kind = FindingKind.REMOVED_MODEL
        else:
            kind = FindingKind.UNKNOWN_MODEL
            model = one_line(model, limit=100)
            if model not in self._read and len(self._read) >= _MOST_UNKNOWN:
                model = _REST
        self._read[model] += 1
        self.left_out.add(model, kind, record.pk)
        self._belonging.leave_out(model, kind, record)

    def _is_global(self, record: Record) -> bool:
        """Leave out a row of a two-scope model that is not in Organization scope (S-4)."""
        if row_scope(load_catalogue()[record.model], record.fields) is not Scope.GLOBAL:
            return False
        self.left_out.add(record.model, FindingKind.OUT_OF_SCOPE, record.pk)
        self._belonging.leave_out(record.model, FindingKind.OUT_OF_SCOPE, record)
        self.selection.exclude(record.model, record.pk)
        return True

    def _strip(self, record: Record, known: Collection[str]) -> Record:
        for field in record.fields.keys() - known:
            if (record.model, field) in _TOLD_ELSEWHERE or self._keeps(record, field):
                continue
            name = (record.model, one_line(field, limit=100))
            if name not in self._stripped and len(self._stripped) >= _MOST_UNKNOWN:
                name = (record.model, _REST)
            self._stripped[name] += 1
            if name not in _REMOVED_FIELDS:
                self._belonging.strip(*name, record.pk)
        fields = {
            field: value
            for field, value in record.fields.items()
            if field in known or self._keeps(record, field)
        }
        return record._replace(fields=fields)

    def _keeps(self, record: Record, field: str) -> bool:
        """Tell whether an unknown field may go on: the import says whether a column takes it."""
        name = (record.model, field)
        if name in _REMOVED_FIELDS or name in _TOLD_ELSEWHERE or not is_plain(record.fields[field]):
            return False
        if not may_move(*name) or len(field) > _LONGEST_NAME:
            return False
        if name not in self._kept and len(self._kept) >= _MOST_UNKNOWN:
            return False
        self._kept.add(name)
        return True

    def _model_findings(self) -> list[Finding]:
        causes = {
            FindingKind.UNKNOWN_MODEL: "this version does not know the model",
            FindingKind.REMOVED_MODEL: "the model no longer exists",
            FindingKind.REPEATED_RECORD: "an earlier record of the model has the same primary key",
        }
        return [
            Finding(
                kind,
                model,
                f"{_records(counts[kind])} left out: {cause}.",
                pk=self._first_repeated.get(model),
            )
            for model, counts in sorted(self.left_out.counts().items())
            for kind, cause in causes.items()
            if kind in counts
        ]

    def _field_findings(self) -> list[Finding]:
        found = []
        for (model, field), count in sorted(self._stripped.items()):
            removed = (model, field) in _REMOVED_FIELDS
            kind = FindingKind.REMOVED_FIELD if removed else FindingKind.UNKNOWN_FIELD
            cause = (
                "the field no longer exists" if removed else "it is unknown and not a plain value"
            )
            reason = f"The field was left out of {_records(count)}: {cause}."
            found.append(Finding(kind, model, reason, field=field, records=count))
        return found


def check_limits(report: ScanReport, *, max_organizations: int, max_users: int) -> None:
    """Refuse more than one relocation moves; raises PermanentError with the number (6.4.3)."""
    organizations, users = len(report.organizations), report.selected.get("sentry.user", 0)
    if organizations > max_organizations:
        raise LimitError(
            f"{organizations} organizations were requested, but one relocation can move at most "
            f"{max_organizations}."
        )
    if users > max_users:
        raise LimitError(
            f"The organizations have {users} members in total, but one relocation can move at "
            f"most {max_users}."
        )


def _choose(intake: _Intake, wanted: Sequence[str] | None) -> Selected:
    """Select, or refuse in the order of 6.4.3; the form of the slugs was checked with the request.

    Slugs match exactly.
    """
    selection = intake.selection
    if not selection.has_users:
        raise ExportError(
            "The export contains no users, and a relocation needs at least one. Export the "
            "organizations together with their members."
        )
    if wanted is None:
        if not selection.slugs:
            raise ExportError("The export contains no organizations, so there is nothing to move.")
        return selection.choose(selection.slugs, intake.left_out)
    missing = sorted(set(wanted) - selection.slugs)
    if missing:
        held = listed(sorted(selection.slugs), show=5) or "none"
        raise MissingOrganizationError(
            f"These organizations are not in the export: {listed(missing, show=5)}.",
            internal=f"the organizations it holds: {held}",  # other people's: not for the mail
        )
    return selection.choose(set(wanted), intake.left_out)


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"

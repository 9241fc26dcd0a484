"""Try an import in a scratch database, and see what it would do (B-8).

The scratch is made like the destination, gets what the import could collide with, and takes the
same import as the destination will. Then all of it is read back and compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.findings import Finding
from relocation.plan import Plan
from relocation.transfer.bulk import bulk_work
from relocation.transfer.compare.arrival import differences, pairs_of
from relocation.transfer.compare.comparing import compare_unchanged
from relocation.transfer.database.exporting import LiveSource
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.existing import Loaded, load_existing
from relocation.transfer.dry_run.scratch import scratch
from relocation.transfer.load.chunks import ImportReport, bind, smallest_chunks
from relocation.transfer.load.importing import import_records
from relocation.transfer.load.owners import with_owners
from relocation.transfer.source import PortionedSource, Source

_FENCE = 1
"""A scratch has one user, whatever fence the relocation is at."""


@dataclass(frozen=True)
class TrialReport:
    """What a trial import showed: good where there are no findings."""

    findings: tuple[Finding, ...]
    imported: ImportReport
    """What the import itself told; these are no differences."""


@bulk_work()
def try_import(
    destination: Engine,
    source: PortionedSource,
    *,
    baseline: Source,
    colliding: Source,
    relocation_id: str,
    chunk_records: int,
    folder: Path,
    plan: Plan | None = None,
    progress: Callable[[str, int], None] = lambda _model, _records: None,
) -> TrialReport:
    """Import the source into a scratch database like the destination, and compare the outcome.

    Reports what did not arrive as it was, save for what an import changes on purpose, and what
    changed of the `baseline` and of the `colliding` users, which stand for what the destination
    has. The scratch (on SQLite a file in `folder`) is always removed, and the destination's rows
    are never touched. Raises PermanentError where the import itself does.
    """
    with scratch(destination, relocation_id, folder) as copy:
        tables = reflect(copy.engine, load_catalogue().values())
        existing = load_existing(copy.engine, tables, (baseline, colliding))
        bind(copy.engine, relocation_id, _FENCE)
        copy.arm()
        report = import_records(
            copy.engine,
            source,
            relocation_id=relocation_id,
            fence=_FENCE,
            plan=plan,
            chunk_records=chunk_records,
            progress=progress,
        )
        live = LiveSource(copy.engine, tables, smallest_chunks(copy.engine, relocation_id))
        source = with_owners(source, tables)
        pairs = pairs_of(copy.engine, relocation_id, source)
        arrived = _Filtered(live, _has_arrived(pairs, existing))
        findings = differences(source, arrived, pairs, tables, told=report.findings)
        for before, loaded in zip((baseline, colliding), existing, strict=True):
            findings += compare_unchanged(_only(before, loaded), live)
    return TrialReport(tuple(findings), report)


def _has_arrived(
    pairs: Mapping[str, Mapping[int, int]], existing: Sequence[Loaded]
) -> Callable[[Record], bool]:
    """Return what tells records that are new, or were merged into, from those left alone."""
    models = {model for loaded in existing for model in loaded}
    arrived = {model: frozenset(pairs[model].values()) for model in models & pairs.keys()}

    def tell(record: Record) -> bool:
        was_there = any(record.pk in loaded.get(record.model, ()) for loaded in existing)
        return not was_there or record.pk in arrived.get(record.model, ())

    return tell


def _only(source: Source, loaded: Loaded) -> "_Filtered":
    return _Filtered(source, lambda record: record.pk in loaded.get(record.model, ()))


class _Filtered:
    """The records of another source for which a condition holds."""

    def __init__(self, source: Source, keeps: Callable[[Record], bool]) -> None:
        self._source = source
        self._keeps = keeps

    def models(self) -> Sequence[str]:
        return self._source.models()

    def records(self, model: str) -> Iterator[Record]:
        return filter(self._keeps, self._source.records(model))

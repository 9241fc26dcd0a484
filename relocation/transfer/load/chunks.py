"""What the destination itself remembers of a relocation: its fence, and each chunk of its import.

A chunk's record is written in the transaction of its rows, so that both are there or neither is.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, delete, insert, inspect, select, update
from sqlalchemy.exc import DataError, IntegrityError

from relocation.catalogue import load_catalogue
from relocation.errors import ConfigurationError, FencedOut, TransientError
from relocation.findings import Finding, FindingKind
from relocation.model import RecordCounts
from relocation.transfer.database.schema import FENCE, IMPORT_CHUNK

GRANTED: Final = "relocation.granted"
"""Stands for a model where the chunk records the owners' memberships, which no export holds."""


@dataclass(frozen=True)
class Chunk:
    """One chunk as it was written; maps go from the export's primary keys to the destination's."""

    account: RecordCounts
    first_pk: int
    last_pk: int
    inserted: Mapping[int, int]
    merged: Mapping[int, int] = field(default_factory=dict)
    overwritten: Mapping[int, int] = field(default_factory=dict)
    slugs: Mapping[int, str] = field(default_factory=dict)
    """The slugs of inserted organizations as the export has them, by the export's primary keys."""
    findings: tuple[Finding, ...] = ()

    @property
    def pks(self) -> dict[int, int]:
        """Where the records are now, whatever was done with them."""
        return {**self.inserted, **self.merged, **self.overwritten}


@dataclass(frozen=True)
class ImportReport:
    """What an import did, by model, in dependency order."""

    accounts: Mapping[str, RecordCounts]
    findings: tuple[Finding, ...]

    def inserted(self, model: str) -> int:
        """Return how many records of a model were inserted."""
        return self.accounts.get(model, RecordCounts()).inserted

    @property
    def renamed_users(self) -> int:
        """Return how many users had to take another name."""
        kinds = [(one.kind, one.model) for one in self.findings]
        return kinds.count((FindingKind.RENAMED, "sentry.user"))

    def left_behind(
        self, scanned: Mapping[str, Mapping[FindingKind, int]] | None = None
    ) -> Mapping[str, int]:
        """Return by model how many records were left behind, by the scan as well.

        Of what the scan left out only what belongs to the organizations counts: the numbers of
        others are theirs. Nor do actors: what was lost of these, the records tell that they own.
        """
        left: Counter[str] = Counter()
        for model, account in self.accounts.items():
            left[model] += account.skipped + account.dropped
        for model, causes in (scanned or {}).items():
            left[model] += sum(causes.values())
        left.pop("sentry.actor", None)
        return left

    def lost_fields(self, scanned: Iterable[tuple[str, str, int]]) -> Mapping[tuple[str, str], int]:
        """Return by model and field how many records lost one that the catalogue does not know.

        What the scan left out counts as well.
        """
        lost: Counter[tuple[str, str]] = Counter()
        for finding in self.findings:
            if finding.kind == FindingKind.UNKNOWN_FIELD and finding.field:
                lost[finding.model, finding.field] += finding.records or 0
        for model, name, count in scanned:
            lost[model, name] += count
        return +lost

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        return {
            "accounts": {model: asdict(account) for model, account in self.accounts.items()},
            "findings": [finding.as_json() for finding in self.findings],
        }


def bind(engine: Engine, relocation_id: str, fence: int) -> None:
    """Mark this destination as the relocation's, so that another one is noticed later; idempotent.

    Raises ConfigurationError where the destination was never set up, FencedOut as `fenced` does.
    """
    with engine.begin() as connection:
        if not inspect(connection).has_table(FENCE.name):
            raise ConfigurationError(
                "The destination has not been prepared for relocations. An operator has to do "
                "that.",
                internal="run `relocation setup`: the destination has no table relocation_fence",
            )
        if not _raise_fence(connection, relocation_id, fence):
            connection.execute(insert(FENCE).values(relocation_id=relocation_id, fence=fence))


@contextmanager
def fenced(engine: Engine, relocation_id: str, fence: int) -> Iterator[Connection]:
    """Open a transaction that no process with an older fence can come before or between.

    Raises FencedOut where a newer fence was seen, ConfigurationError where this relocation was
    never bound to this destination, TransientError where a constraint refuses what was written.
    """
    try:
        with engine.begin() as connection:
            known = inspect(connection).has_table(FENCE.name)
            if not known or not _raise_fence(connection, relocation_id, fence):
                raise ConfigurationError(
                    "The destination is not the one this relocation started with. An operator "
                    "has to restore that one."
                )
            yield connection
    except (IntegrityError, DataError) as err:
        raise TransientError(
            "The destination rejected some records. None of them was written.",
            internal=f"{type(err.orig).__name__}: {err.orig}",
        ) from err


def check_bound(engine: Engine, relocation_id: str, fence: int) -> None:
    """Check that this relocation may write to this destination; raises as `fenced` does."""
    with fenced(engine, relocation_id, fence):
        return


def _raise_fence(connection: Connection, relocation_id: str, fence: int) -> bool:
    """Lock the fence row; return False where there is none."""
    mine = FENCE.c.relocation_id == relocation_id
    changed = connection.execute(
        update(FENCE).where(mine, FENCE.c.fence <= fence).values(fence=fence)
    )
    if changed.rowcount:
        return True
    newer = connection.execute(select(FENCE.c.fence).where(mine)).scalar()
    if newer is None:
        return False
    raise FencedOut(
        "Another process has taken this relocation over.", internal=f"fence {fence} < {newer}"
    )


def recorded_sizes(engine: Engine, relocation_id: str) -> dict[tuple[str, int], int]:
    """Return how many records each chunk written so far was made of, by model and number."""
    chunk = IMPORT_CHUNK.c
    rows = select(chunk.model, chunk.chunk, chunk.read).where(chunk.relocation_id == relocation_id)
    with engine.connect() as connection:
        return {(model, number): read for model, number, read in connection.execute(rows)}


def smallest_chunks(engine: Engine, relocation_id: str) -> dict[str, int]:
    """Return the size of the smallest chunk of each model before its last, small for large rows."""
    by_model: dict[str, list[int]] = {}
    for (model, _), read in sorted(recorded_sizes(engine, relocation_id).items()):
        by_model.setdefault(model, []).append(read)
    return {model: min(sizes[:-1]) for model, sizes in by_model.items() if sizes[1:]}


def read_chunk(connection: Connection, relocation_id: str, model: str, number: int) -> Chunk | None:
    """Return the chunk if it was written."""
    key = {"relocation_id": relocation_id, "model": model, "chunk": number}
    row = connection.execute(select(IMPORT_CHUNK).filter_by(**key)).one_or_none()
    return None if row is None else _chunk(row)


def read_chunks(connection: Connection, relocation_id: str, model: str) -> Iterator[Chunk]:
    """Yield the model's chunks that were written, in order."""
    rows = select(IMPORT_CHUNK).filter_by(relocation_id=relocation_id, model=model)
    yield from map(_chunk, connection.execute(rows.order_by(IMPORT_CHUNK.c.chunk)))


def inserted_pks(connection: Connection, relocation_id: str, model: str) -> dict[int, int]:
    """Return where the records that this relocation inserted are, by the export's keys."""
    chunks = read_chunks(connection, relocation_id, model)
    return {pk: here for chunk in chunks for pk, here in chunk.inserted.items()}


def write_chunk(
    connection: Connection, relocation_id: str, model: str, number: int, chunk: Chunk
) -> None:
    """Record a chunk; the table's key refuses a second record of it."""
    pks = {
        kind: [list(pairs), list(pairs.values())]
        for kind, pairs in (
            ("inserted", chunk.inserted),
            ("merged", chunk.merged),
            ("overwritten", chunk.overwritten),
            ("slugs", chunk.slugs),
        )
    }
    connection.execute(
        insert(IMPORT_CHUNK).values(
            relocation_id=relocation_id,
            model=model,
            chunk=number,
            first_pk=chunk.first_pk,
            last_pk=chunk.last_pk,
            pks=_pack(pks),
            findings=_pack([finding.as_json() for finding in chunk.findings]),
            **asdict(chunk.account),
        )
    )


def written_chunks(engine: Engine, relocation_id: str) -> list[tuple[str, int]]:
    """Return model and number of each chunk written so far."""
    chunk = IMPORT_CHUNK.c
    keys = select(chunk.model, chunk.chunk).where(chunk.relocation_id == relocation_id)
    with engine.connect() as connection:
        return [(model, number) for model, number in connection.execute(keys)]


def delete_chunk(connection: Connection, relocation_id: str, model: str, number: int) -> None:
    """Forget a chunk, in the transaction that removes its rows."""
    chunk = IMPORT_CHUNK.c
    mine = (chunk.relocation_id == relocation_id, chunk.model == model, chunk.chunk == number)
    connection.execute(delete(IMPORT_CHUNK).where(*mine))


def remove_chunks(engine: Engine, fences: Mapping[str, int]) -> set[str]:
    """Remove the records of imports that are never rolled back, in one transaction; idempotent.

    `fences` has, by relocation, the fence that the ledger knows. Returns those whose fence is newer
    here, which are left: a ledger from a backup does not know what became of them.
    """
    ids, chunk = list(fences), IMPORT_CHUNK.c
    known = select(FENCE.c.relocation_id, FENCE.c.fence).where(FENCE.c.relocation_id.in_(ids))
    with engine.begin() as connection:
        newer = {id_ for id_, fence in connection.execute(known) if fence > fences[id_]}
        old = chunk.relocation_id.in_(fences.keys() - newer)
        connection.execute(delete(IMPORT_CHUNK).where(old))
    return newer


def record_granted(connection: Connection, relocation_id: str, pks: Collection[int]) -> None:
    """Add memberships to those that were granted, so that a roll back finds them."""
    before = read_chunk(connection, relocation_id, GRANTED, 0)
    inserted = {**(before.inserted if before else {}), **{pk: pk for pk in pks}}
    delete_chunk(connection, relocation_id, GRANTED, 0)
    write_chunk(connection, relocation_id, GRANTED, 0, Chunk(RecordCounts(), 0, 0, inserted))


def import_report(engine: Engine, relocation_id: str) -> ImportReport:
    """Rebuild the report of an import from its chunk records.

    Findings told twice count once, save those about a number of records: these add up.
    """
    accounts: dict[str, RecordCounts] = {}
    findings: dict[Finding, int] = {}
    order = list(load_catalogue())
    rows = select(IMPORT_CHUNK).filter_by(relocation_id=relocation_id)
    rows = rows.where(IMPORT_CHUNK.c.model != GRANTED)
    with engine.connect() as connection:
        for row in connection.execute(rows.order_by(IMPORT_CHUNK.c.model, IMPORT_CHUNK.c.chunk)):
            chunk = _chunk(row)
            accounts[row.model] = accounts.get(row.model, RecordCounts()) + chunk.account
            for finding in chunk.findings:
                about = replace(finding, records=None)
                findings[about] = findings.get(about, 0) + (finding.records or 0)
    place = {model: position for position, model in enumerate(order)}
    ordered = sorted(accounts, key=lambda model: place.get(model, len(order)))
    return ImportReport(
        {model: accounts[model] for model in ordered},
        tuple(
            replace(finding, records=findings[finding] or None)
            for finding in sorted(findings, key=lambda one: place.get(one.model, len(order)))
        ),
    )


def _chunk(row: Any) -> Chunk:
    pks = {kind: dict(zip(*pairs, strict=True)) for kind, pairs in _unpack(row.pks).items()}
    return Chunk(
        account=RecordCounts(**{f.name: getattr(row, f.name) for f in fields(RecordCounts)}),
        first_pk=row.first_pk,
        last_pk=row.last_pk,
        findings=tuple(
            Finding(**{**finding, "kind": FindingKind(finding["kind"])})
            for finding in _unpack(row.findings)
        ),
        **pks,
    )


def _pack(data: Any) -> bytes:
    return zlib.compress(orjson.dumps(data), level=1)


def _unpack(data: bytes) -> Any:
    return orjson.loads(zlib.decompress(data))

"""Import an export's records into a destination, chunk by chunk (spec 3, DESIGN 8)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from sqlalchemy import Engine, select

from relocation.archive.records import Record
from relocation.catalogue import Model, Scope, load_catalogue
from relocation.errors import CommandError, ConfigurationError, StaleWorkError
from relocation.findings import Finding, FindingKind
from relocation.plan import Plan
from relocation.text import listed
from relocation.transfer.bulk import bulk_work
from relocation.transfer.database.schema import ModelTable, is_mandatory, reflect
from relocation.transfer.database.skew import (
    check_later_steps,
    check_restrictions,
    check_schema,
    check_values,
    prevents_import,
)
from relocation.transfer.load.accounts import account_tables, accounts_of, check_accounts
from relocation.transfer.load.batch import Options, unfit
from relocation.transfer.load.chunks import (
    Chunk,
    ImportReport,
    bind,
    check_bound,
    fenced,
    import_report,
    read_chunk,
    recorded_sizes,
    write_chunk,
)
from relocation.transfer.load.owners import ACTOR, with_owners
from relocation.transfer.load.ownership import map_visible
from relocation.transfer.load.references import referenced_models
from relocation.transfer.load.rules import WRITTEN
from relocation.transfer.load.write_behind import WriteBehind
from relocation.transfer.load.writing import Writer
from relocation.transfer.source import PortionedSource, Source

__all__ = ["ImportReport", "bind", "import_records", "import_report"]

_ORGANIZATION: Final = "sentry.organization"
_CHUNK_BYTES: Final = 32 * 1024**2
"""About how much memory the records of a transaction may take; three of them are there at once."""


class Piece(NamedTuple):
    """The records of one chunk."""

    model: str
    number: int
    records: list[Record]
    weight: int
    """About how many bytes they take in memory."""


@bulk_work()
def import_records(
    engine: Engine,
    source: PortionedSource,
    *,
    relocation_id: str,
    fence: int,
    scope: Scope = Scope.ORGANIZATION,
    hide: bool = True,
    merge_users: bool = False,
    overwrite_configs: bool = False,
    plan: Plan | None = None,
    chunk_records: int = 10_000,
    progress: Callable[[str, int], None] = lambda _model, _records: None,
) -> ImportReport:
    """Import the records that `scope` admits, under its rules (spec 3.6).

    `hide`, `merge_users`, `overwrite_configs` and `plan` are those of `Options`. The scope Global
    is for an empty destination alone, and empties none (I-17 is not followed: nothing here deletes
    what it did not bring).

    What is not hidden the product is asked to map at the end, as the reveal does for what is.

    Idempotent: chunks that were written before are left alone, so that an import that was killed
    goes on after its last one. `progress` is called with a model and the number of its records
    that were just done. Raises PermanentError where the destination cannot take the export or is
    not the one that was bound, FencedOut where another process has taken over.
    """
    check_bound(engine, relocation_id, fence)
    plan = plan or Plan()
    if plan.users:
        _check_accounts(engine, plan)
    admitted = {model.name: model for model in load_catalogue().admitted(scope)}
    wanted = {ACTOR, *source.models()} & admitted.keys()
    tables = reflect(engine, [admitted[name] for name in sorted(wanted)])
    source = with_owners(source, tables)
    present = [admitted[name] for name in source.models() if name in admitted]
    # What newer versions took away is left out where they are the destination, and told.
    present = [model for model in present if model.until is None or model.name in tables]
    later = check_later_steps(engine) if hide else []
    _check(tables, present, source, scope, later)
    writer = Writer(tables, Options(scope, hide, merge_users, overwrite_configs, plan))
    kept = referenced_models()
    maps: dict[str, dict[int, int]] = {}
    sizes = recorded_sizes(engine, relocation_id)
    if scope is Scope.GLOBAL and not sizes:
        _check_empty(engine, reflect(engine, admitted.values()))
    groups = _read_ahead(_grouped(_pieces(source, sizes, chunk_records), chunk_records))
    with WriteBehind(partial(fenced, engine, relocation_id, fence)) as transaction:
        for pieces in groups:
            for model, number, piece, _ in pieces:
                chunk = None
                if (model, number) in sizes:
                    chunk = read_chunk(transaction.flushed(), relocation_id, model, number)
                if chunk is None:
                    chunk = writer.write(transaction, model, piece, maps)
                    record = partial(write_chunk, relocation_id=relocation_id, chunk=chunk)
                    transaction.write_later(partial(record, model=model, number=number))
                else:
                    writer.note_written_chunk(model, chunk)
                _compare(chunk, model, len(piece), piece[0].pk, piece[-1].pk)
                if model in kept:
                    maps.setdefault(model, {}).update(chunk.pks)
            done = [(model, len(piece)) for model, _, piece, _ in pieces]
            transaction.commit(partial(_tell, progress, done))
    if not hide and any(model.name == _ORGANIZATION for model in present):
        map_visible(engine, relocation_id, fence)
    return import_report(engine, relocation_id)


def _tell(progress: Callable[[str, int], None], done: Iterable[tuple[str, int]]) -> None:
    for model, records in done:
        progress(model, records)


def _pieces(
    source: PortionedSource, sizes: Mapping[tuple[str, int], int], chunk_records: int
) -> Iterator[Piece]:
    """Cut the records of each model into chunks: of fewer records where these are large.

    One that was written keeps its size, even if the setting has changed meanwhile.
    """
    for model in source.models():
        number, held, weight = 0, list[Record](), 0
        for portion in source.portions(model):
            known = sizes.get((model, number))
            if held and not known and weight + portion.weight > _CHUNK_BYTES:
                yield Piece(model, number, held, weight)
                number, held, weight = number + 1, [], 0
            held += portion.records
            weight += portion.weight
            while len(held) >= (most := sizes.get((model, number), chunk_records)):
                yield Piece(model, number, held[:most], weight)
                number, held, weight = number + 1, held[most:], portion.weight
        if held:
            yield Piece(model, number, held, weight)


def _grouped(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """Put chunks of few records together, so that they share a transaction."""
    group: list[Piece] = []
    size = weight = 0
    for piece in pieces:
        weight += piece.weight
        size += len(piece.records)
        if group and (size > most or weight > _CHUNK_BYTES):
            yield group
            group, size, weight = [], len(piece.records), piece.weight
        group.append(piece)
    if group:
        yield group


def _read_ahead(groups: Iterator[list[Piece]]) -> Iterator[list[Piece]]:
    """Read one group ahead, in a thread, while the database writes the one before."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, groups, None)
        while (group := following.result()) is not None:
            following = reader.submit(next, groups, None)
            yield group


def _check(
    tables: Mapping[str, ModelTable],
    present: list[Model],
    source: Source,
    scope: Scope,
    later: list[Finding],
) -> None:
    """Refuse a destination that cannot take the records; the error tells of every place.

    `later` are findings about the steps that follow. An export writes every field of a model in
    every record, so that the first one tells them all.
    """
    used = {
        model.name: {
            *WRITTEN.get(model.name, ()),
            *(field for record in islice(source.records(model.name), 1) for field in record.fields),
        }
        for model in present
    }
    findings = [*check_schema(tables, used), *later]
    for finding in findings:
        if finding.kind is FindingKind.REQUIRED_COLUMN:
            _check_export(tables[finding.model], finding.field, source)
    for model in present:
        if model.name in tables:
            overwritten = frozenset() if scope is Scope.GLOBAL else WRITTEN.get(model.name, ())
            records = partial(source.records, model.name)
            findings += check_values(tables[model.name], records, overwritten)
            findings += check_restrictions(tables[model.name], records)
    missing = [finding for finding in findings if prevents_import(finding)]
    if missing:
        places = [f"{f.model}.{f.field}" if f.field else f.model for f in missing]
        raise ConfigurationError(
            f"The destination's schema does not fit this export: see {listed(places)}. Its "
            "operator has to upgrade it.",
            internal="; ".join(
                f"{place}: {finding.reason}" for place, finding in zip(places, missing, strict=True)
            ),
        )


def _check_export(table: ModelTable, column: str | None, source: Source) -> None:
    """Refuse an export that leaves out of a record what every record of the model must have."""
    model = table.model
    field = next((one for one in table.fields if model.columns[one] == column), None)
    if field is None:
        return  # the catalogue does not know it, and no export may have it
    records = source.records(model.name)
    first = next(records)
    if is_mandatory(model, field) or any(field in record.fields for record in records):
        raise unfit(model.name, first.pk, field, "is missing, and every record must have one")


def _check_accounts(engine: Engine, plan: Plan) -> None:
    tables = account_tables(engine)
    with engine.connect() as connection:
        check_accounts(plan, accounts_of(connection, tables, plan.users.values()))


def _check_empty(engine: Engine, tables: Mapping[str, ModelTable]) -> None:
    """Refuse a Global import into a destination that holds something already."""
    with engine.connect() as connection:
        filled = [
            name
            for name, table in tables.items()
            if connection.execute(select(table.table.c.id).limit(1)).first()
        ]
    if filled:
        raise CommandError(
            f"A Global import needs an empty destination, but this one has {listed(filled)}. "
            "Empty it, or import in another scope."
        )


def _compare(chunk: Chunk, model: str, read: int, first_pk: int, last_pk: int) -> None:
    """Refuse to go on with other records than the import began with."""
    if (chunk.account.read, chunk.first_pk, chunk.last_pk) != (read, first_pk, last_pk):
        raise StaleWorkError(f"The records of {model} are not the ones this import began with.")

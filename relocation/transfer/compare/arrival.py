"""Compare what an import left in a database with what it was given (B-8)."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Final

from sqlalchemy import Engine, select

from relocation.catalogue import Scope, load_catalogue
from relocation.findings import Finding, FindingKind
from relocation.transfer.bulk import bulk_work
from relocation.transfer.compare.comparing import compare
from relocation.transfer.compare.intended import CHANGES, CHANGES_SINCE, Change, Intended
from relocation.transfer.database.exporting import PickedSource, exported_pks
from relocation.transfer.database.rows import select_in
from relocation.transfer.database.schema import ModelTable, reflect
from relocation.transfer.load.chunks import GRANTED, import_report, read_chunks, smallest_chunks
from relocation.transfer.load.owners import with_owners
from relocation.transfer.load.references import MapsOnDemand
from relocation.transfer.source import PortionedSource, Source

_ORGANIZATION: Final = "sentry.organization"
_MEMBER: Final = "sentry.organizationmember"
_NAMED: Final = 5
"""Most rows of a model that are told one by one where nothing stands for them."""

Pairs = Mapping[str, Mapping[int, int]]
"""By model: where each record of an export is now."""


def pairs_of(engine: Engine, relocation_id: str, source: Source) -> Pairs:
    """Return where the records are now, from the import's own account; model by model on demand."""
    return MapsOnDemand(source.models(), partial(_pairs, engine, relocation_id))


def differences(
    source: Source,
    arrived: Source,
    pairs: Pairs,
    tables: Mapping[str, ModelTable],
    *,
    told: Collection[Finding],
    since: Iterable[Change] = (),
) -> list[Finding]:
    """Report what did not arrive as it was, save for what the import changes or told of.

    `since` says what else may have changed after it, in place of what the import does there.
    """
    intended = Intended((*CHANGES, *since), told, _defaulted(tables))
    models = {**load_catalogue(), **{name: table.model for name, table in tables.items()}}
    return compare(source, arrived, pairs=pairs, intended=intended, models=models)


@bulk_work()
def verify_import(
    destination: Engine, source: PortionedSource, relocation_id: str
) -> list[Finding]:
    """Read what a relocation imported out of the destination, and compare it with the source.

    By the rules of a trial import. Rows that came into being within the organizations since then
    are reported as well. Reads only; nothing of what others have is looked at.
    """
    tables = reflect(destination, load_catalogue().values())
    source = with_owners(source, tables)
    pairs = pairs_of(destination, relocation_id, source)
    arrived = PickedSource(
        destination,
        tables,
        lambda model: set(pairs.get(model, {}).values()),
        smallest_chunks(destination, relocation_id),
    )
    told = import_report(destination, relocation_id).findings
    return [
        *differences(source, arrived, pairs, tables, told=told, since=CHANGES_SINCE),
        *_unexpected(destination, tables, pairs, _pairs(destination, relocation_id, GRANTED)),
    ]


def _pairs(engine: Engine, relocation_id: str, model: str) -> dict[int, int]:
    with engine.connect() as connection:
        chunks = read_chunks(connection, relocation_id, model)
        return {pk: here for chunk in chunks for pk, here in chunk.pks.items()}


def _defaulted(tables: Mapping[str, ModelTable]) -> Iterator[tuple[str, str]]:
    """Yield the fields whose column takes no null, so that a default stands in for it."""
    for name, table in tables.items():
        for field in table.fields:
            if not table.column(field).nullable:
                yield name, field


def _unexpected(
    destination: Engine,
    tables: Mapping[str, ModelTable],
    pairs: Pairs,
    granted: Collection[int],
) -> Iterator[Finding]:
    """Report the rows of the imported organizations that no record stands for.

    What belongs to a person is left out: an account may have been there before, with rows of its
    own. So are memberships that were granted: a ledger from a backup may be behind them.
    """
    moved = pairs.get(_ORGANIZATION, {})
    table = tables[_ORGANIZATION]
    with destination.connect() as connection:
        slug, pk = table.column("slug"), table.table.c.id
        found = select_in(connection, select(slug), pk.in_, list(moved.values()))
    admitted = {
        model.name: tables[model.name]
        for model in load_catalogue().admitted(Scope.ORGANIZATION)
        if model.name in tables
    }
    for name, pks in exported_pks(destination, admitted, [slug for (slug,) in found]):
        if Scope.USER in load_catalogue()[name].scopes:
            continue
        known = {*pairs.get(name, {}).values(), *(granted if name == _MEMBER else ())}
        extra = (one for one in pks if one not in known)
        for one in islice(extra, _NAMED):
            reason = f"The destination has a new row, {one}, that matches no record."
            yield Finding(FindingKind.UNEQUAL_COUNTS, name, reason)
        if more := sum(1 for _ in extra):
            reason = f"{more} more new rows match no record."
            yield Finding(FindingKind.UNEQUAL_COUNTS, name, reason)

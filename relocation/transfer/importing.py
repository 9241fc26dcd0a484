"""Import an export's records into a destination, chunk by chunk (spec 3, DESIGN 8)."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from sqlalchemy import Engine

from relocation.catalogue import Model, Scope, load_catalogue
from relocation.errors import ConfigurationError, PermanentError
from relocation.text import listed
from relocation.transfer.chunks import (
    Account,
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
from relocation.transfer.references import referenced_models
from relocation.transfer.rules import WRITTEN
from relocation.transfer.schema import ModelTable, blocks, check_schema, reflect
from relocation.transfer.source import Source
from relocation.transfer.writing import Writer

__all__ = ["Account", "ImportReport", "bind", "import_records", "import_report"]

_SCOPES: Final = (Scope.ORGANIZATION, Scope.USER)


def import_records(
    engine: Engine,
    source: Source,
    *,
    relocation_id: str,
    fence: int,
    scope: Scope = Scope.ORGANIZATION,
    hide: bool = True,
    chunk_records: int = 2000,
    progress: Callable[[str, int], None] = lambda _model, _records: None,
) -> ImportReport:
    """Import the records that `scope` admits, under the User or Organization rules.

    Idempotent: chunks that were written before are left alone, so that an import that was killed
    goes on after its last one. `progress` is called with a model and the number of its records
    that were just done. Raises PermanentError where the destination cannot take the export or is
    not the one that was bound, FencedOut where another process has taken over.
    """
    if scope not in _SCOPES:
        raise ValueError(f"there are no import rules for the scope {scope}")
    check_bound(engine, relocation_id, fence)
    admitted = {model.name: model for model in load_catalogue().admitted(scope)}
    present = [admitted[name] for name in source.models() if name in admitted]
    tables = reflect(engine, present)
    _check(tables, present, source)
    writer = Writer(tables, scope, hide)
    kept = referenced_models()
    maps: dict[str, dict[int, int]] = {}
    sizes = recorded_sizes(engine, relocation_id)
    for model in source.models():
        records, number = source.records(model), 0
        # A chunk that was written keeps its size, even if the setting has changed meanwhile.
        while piece := list(islice(records, sizes.get((model, number), chunk_records))):
            with fenced(engine, relocation_id, fence) as connection:
                chunk = read_chunk(connection, relocation_id, model, number)
                if chunk is None:
                    chunk = writer.write(connection, model, piece, maps)
                    write_chunk(connection, relocation_id, model, number, chunk)
                else:
                    writer.pass_over(model, chunk)
            _compare(chunk, model, len(piece), piece[0].pk, piece[-1].pk)
            if model in kept:
                maps.setdefault(model, {}).update(chunk.pks)
            progress(model, len(piece))
            number += 1
    return import_report(engine, relocation_id)


def _check(tables: Mapping[str, ModelTable], present: list[Model], source: Source) -> None:
    """Refuse a destination that cannot take the records.

    An export writes every field of a model in every record, so that the first one tells them all.
    """
    used = {
        model.name: {
            *WRITTEN.get(model.name, ()),
            *(field for record in islice(source.records(model.name), 1) for field in record.fields),
        }
        for model in present
    }
    missing = [finding for finding in check_schema(tables, used) if blocks(finding)]
    if missing:
        places = [f"{f.model}.{f.field}" if f.field else f.model for f in missing]
        raise ConfigurationError(
            f"The destination's schema does not fit this export: see {listed(places)}. Its "
            "operator has to bring it up to date.",
            internal="; ".join(
                f"{place}: {finding.reason}" for place, finding in zip(places, missing, strict=True)
            ),
        )


def _compare(chunk: Chunk, model: str, read: int, first_pk: int, last_pk: int) -> None:
    """Refuse to go on with other records than the import began with."""
    if (chunk.account.read, chunk.first_pk, chunk.last_pk) != (read, first_pk, last_pk):
        raise PermanentError(
            f"The records of {model} are not the ones this import began with. Start a new "
            "relocation of the archive."
        )

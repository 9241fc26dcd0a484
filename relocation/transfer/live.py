"""Make an archive of organizations of a live product."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from sqlalchemy import Engine

from relocation.archive.envelope import sealing
from relocation.archive.fernet_stream import Writable
from relocation.archive.records import Record, write_export
from relocation.catalogue import Scope
from relocation.errors import LimitError
from relocation.transfer.bulk import bulk_work
from relocation.transfer.database.exporting import export_records

_ORGANIZATION: Final = "sentry.organization"


@dataclass
class LiveExport:
    """What an export took out."""

    records: int = 0
    slugs: set[str] = field(default_factory=set)
    """Of the organizations that were there."""

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on, and take note of them."""
        for record in records:
            self.records += 1
            if record.model == _ORGANIZATION:
                self.slugs.add(str(record.fields.get("slug")))
            yield record


@bulk_work()
def export_live(
    engine: Engine,
    organizations: Collection[str],
    public_pem: str,
    out: BinaryIO,
    *,
    max_bytes: int,
) -> LiveExport:
    """Write an archive of the organizations as they are at one moment, encrypted as it is read.

    `out` must be seekable and empty. Raises LimitError beyond `max_bytes`, ConfigurationError where
    the database is none of the product.
    """
    exported = LiveExport()
    records = export_records(engine, scope=Scope.ORGANIZATION, organizations=organizations)
    with sealing(public_pem, out) as sealed:
        write_export(exported.watch(records), _Bounded(sealed, out, max_bytes))
    return exported


class _Bounded:
    """Refuses to let a file grow beyond a size."""

    def __init__(self, sealed: Writable, out: BinaryIO, limit: int) -> None:
        self._sealed = sealed
        self._out = out
        self._limit = limit

    def write(self, data: bytes, /) -> None:
        self._sealed.write(data)
        if self._out.tell() > self._limit:
            raise LimitError(f"The archive would be larger than {self._limit} bytes.")

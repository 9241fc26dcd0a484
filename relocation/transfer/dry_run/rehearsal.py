"""Import into an empty database of the embedded schema, to see what an import would leave out."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from relocation.database import prepare
from relocation.transfer.database.schema import create_embedded
from relocation.transfer.load.chunks import ImportReport, bind
from relocation.transfer.load.importing import import_records
from relocation.transfer.source import PortionedSource

_FENCE = 1


def rehearse(
    source: PortionedSource, *, chunk_records: int, progress: Callable[[str, int], None]
) -> ImportReport:
    """Import the records into a database that is gone afterwards, and tell what became of them.

    What a real destination holds already (names in use, another schema) cannot show here. Raises
    PermanentError where no destination takes the records.
    """
    relocation_id = str(uuid.uuid4())
    with _passing_database() as engine:
        create_embedded(engine)
        bind(engine, relocation_id, _FENCE)
        return import_records(
            engine,
            source,
            relocation_id=relocation_id,
            fence=_FENCE,
            chunk_records=chunk_records,
            progress=progress,
        )


@contextmanager
def _passing_database() -> Iterator[Engine]:
    """Open a database that one connection alone sees.

    SQLite keeps what exceeds its cache in a file without a name: a killed process leaves nothing.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect("", check_same_thread=False),
        poolclass=StaticPool,
        hide_parameters=True,
    )
    try:
        yield prepare(engine)
    finally:
        engine.dispose()

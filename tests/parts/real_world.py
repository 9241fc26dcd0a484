"""Two real products and what is moved between them, the way that the tasks go."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import real_sentry
from peers import Peer
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import read_records
from relocation.archive.storage import FolderStorage
from relocation.catalogue import Scope
from relocation.model import Claim
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import create_own_tables
from relocation.transfer.dry_run.trial import TrialReport, try_import
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.load.ownership import grant_ownership, issue_claims, reveal_organizations
from relocation.transfer.prepare.normalised import open_normalised, write_records
from relocation.transfer.prepare.scan import scan_export

SOURCE, TARGET = "source", "target"
OWNER = "olga@example.net"
PASSWORD = "olga-s-password-1"


@dataclass
class Moved:
    """What a relocation did."""

    id: str
    export: Path
    selected: dict[str, int]
    """How many records of each model belong to the organization."""
    trial: TrialReport
    report: ImportReport
    before: dict[str, int]
    """The rows of each table of the target before it."""
    asked_for: int
    claims: list[Claim]


@dataclass
class World:
    """The databases of one run, and the product's code to ask about them."""

    servers: real_sentry.RealServers
    peer: Peer
    folder: Path
    moved: Moved | None = None
    untouched: str = ""
    """A copy of the target in which the product has made its own rows, and nobody has worked."""
    _current: str = ""
    _numbers: Iterator[int] = field(default_factory=count)

    def engine(self, database: str) -> Engine:
        return create_engine(self.servers.url(database), poolclass=NullPool)

    def ask(self, database: str, question: str, **given: object) -> Any:
        """Ask the product about a database."""
        if database != self._current:
            self.peer.ask("use", database=database)
            self._current = database
        return self.peer.ask(question, **given)

    def query(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        with self.engine(database).connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def copy(self, database: str = TARGET) -> str:
        """Make a copy that a test may spoil."""
        if self._current == database:
            self.peer.ask("use", database="postgres")
            self._current = "postgres"
        name = f"copy{next(self._numbers)}"
        self.servers.copy(database, name)
        return name

    def rows(self, database: str) -> dict[str, int]:
        """Count the rows of each table that has any."""
        tables = self.query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        counts = {
            one: self.query(database, f'SELECT count(*) FROM "{one}"')[0][0] for (one,) in tables
        }
        return {table: rows for table, rows in counts.items() if rows}

    def page(self, database: str, username: str, path: str) -> int:
        """Return the status with which somebody's page or API call is answered."""
        said = self.ask(database, "call", username=username, method="get", path=path)
        return int(said["status"])


def relocate(world: World, export: Path) -> Moved:
    """Go the way of the tasks, one after the other, into the target."""
    engine, relocation_id = world.engine(TARGET), str(uuid.uuid4())
    key, storage = create_private_key(2048), FolderStorage(world.folder / "storage")
    create_own_tables(engine)
    before = world.rows(TARGET)
    with export.open("rb") as file:
        scanned = scan_export(
            read_records(file),
            wanted=["acme"],
            max_organizations=20,
            max_users=2000,
            storage=storage,
            prefix="export",
            public_pem=public_key_of(key),
        )
    assert scanned.selected["sentry.organization"] == 1
    bind(engine, relocation_id, 1)
    captured = {
        "baseline": export_records(engine, scope=Scope.CONFIG, privileged_only=True),
        "colliding": export_records(engine, scope=Scope.USER, usernames=scanned.usernames),
    }
    for prefix, records in captured.items():
        write_records(storage, prefix, public_key_of(key), records)
    source = open_normalised(storage, "export", key)
    trial = try_import(
        engine,
        source,
        baseline=open_normalised(storage, "baseline", key),
        colliding=open_normalised(storage, "colliding", key),
        relocation_id=relocation_id,
        chunk_records=1000,
        folder=world.folder,
    )
    report = import_records(engine, source, relocation_id=relocation_id, fence=1)
    grant_ownership(engine, relocation_id, 1, OWNER)
    asked_for = reveal_organizations(engine, relocation_id, 1)
    claims = issue_claims(engine, relocation_id, 1, datetime.now(UTC))
    return Moved(
        relocation_id, export, dict(scanned.selected), trial, report, before, asked_for, claims
    )

"""Beside the import and the export of a real Sentry: `python -m benchmarks.real_product`.

One PostgreSQL, in turns, medians. The product's commands are called in a process that has loaded
all of it, so that their start does not count; nor does ours. `make real-sentry` sets the product up
and runs this at a tiny size.
"""

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Engine

from benchmarks.measuring import timed
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import read_records, write_export
from relocation.archive.storage import FolderStorage
from relocation.catalogue import Scope
from relocation.transfer.compare.arrival import verify_import
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import create_own_tables
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import grant_ownership, issue_claims, reveal_organizations
from relocation.transfer.prepare.normalised import open_normalised, write_records
from relocation.transfer.prepare.scan import scan_export

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/parts"))

import real_sentry
from peers import peer
from real_world import OWNER, World

READY, GROWN = "ready", "grown"


@dataclass(frozen=True)
class Outcome:
    """What took how long, and the product's own way of it."""

    what: str
    seconds: list[float]
    own: str
    own_seconds: list[float]
    wanted: float
    """How many times as fast it has to be."""

    @property
    def times(self) -> float:
        """How many times as fast it was: the median of the rounds' ratios."""
        pairs = zip(self.seconds, self.own_seconds, strict=True)
        return median(own / mine for mine, own in pairs)


class Bench:
    """Two ways to move the same records, and a fresh destination for each time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._folder = world.folder
        self._export = world.folder / "grown.json"
        self._key = create_private_key(2048)
        self._slugs: list[str] = []
        self.records = 0

    def prepare(self, projects: int) -> None:
        """Grow a source, have the product export it, and make what destinations are copies of."""
        for name in (READY, GROWN):
            self._world.servers.copy("sentry", name)
        self._slugs = self._world.ask(GROWN, "grow", projects=projects)
        self._world.ask(GROWN, "own_export", path=str(self._export))
        self.records = len(json.loads(self._export.read_bytes()))
        self._world.ask(READY, "person", username=OWNER)
        create_own_tables(self._world.engine(READY))

    def own_import(self) -> float:
        """Import as the product does, into an installation as its migrations leave it."""
        name = self._fresh("sentry")
        return float(self._world.ask(name, "own_import", path=str(self._export)))

    def own_export(self) -> float:
        """Export as the product does."""
        path = self._folder / "own.json"
        return float(self._world.ask(GROWN, "own_export", path=str(path)))

    def our_import(self, *, safely: bool) -> float:
        """Scan, import and hand over; with trial and verification where it is to be safe."""
        engine = self._world.engine(self._fresh(READY))
        return timed(partial(self._move, engine, safely=safely))

    def our_export(self) -> float:
        """Export everything, as `relocation export --scope global --plain` does."""

        def work() -> None:
            with (self._folder / "ours.json").open("wb") as out:
                write_export(export_records(self._world.engine(GROWN), scope=Scope.GLOBAL), out)

        return timed(work)

    def _move(self, engine: Engine, *, safely: bool) -> None:
        relocation_id = str(uuid.uuid4())
        storage = FolderStorage(self._folder / relocation_id)
        public_pem = public_key_of(self._key)
        with self._export.open("rb") as file:
            scanned = scan_export(
                read_records(file),
                wanted=self._slugs,
                max_organizations=len(self._slugs),
                max_users=100_000,
                storage=storage,
                prefix="export",
                public_pem=public_pem,
            )
        bind(engine, relocation_id, 1)
        source = open_normalised(storage, "export", self._key)
        if safely:
            there = {
                "baseline": export_records(engine, scope=Scope.CONFIG, privileged_only=True),
                "colliding": export_records(engine, scope=Scope.USER, usernames=scanned.usernames),
            }
            for prefix, records in there.items():
                write_records(storage, prefix, public_pem, records)
            trial = try_import(
                engine,
                source,
                baseline=open_normalised(storage, "baseline", self._key),
                colliding=open_normalised(storage, "colliding", self._key),
                relocation_id=relocation_id,
                chunk_records=10_000,
                folder=self._folder,
            )
            assert trial.findings == (), trial.findings[:3]
        import_records(engine, source, relocation_id=relocation_id, fence=1)
        if safely:
            found = verify_import(engine, source, relocation_id)
            assert found == [], found[:3]
        grant_ownership(engine, relocation_id, 1, OWNER)
        assert reveal_organizations(engine, relocation_id, 1) > len(self._slugs)
        assert issue_claims(engine, relocation_id, 1, datetime.now(UTC))

    def _fresh(self, template: str) -> str:
        name = self._world.copy(template)
        self._world.servers.run(real_sentry.program("psql"), "-qc", "CHECKPOINT")
        return name


def measure(bench: Bench, rounds: int) -> list[Outcome]:
    """Take turns, so that a slow minute of the machine slows all."""
    turns: dict[str, Callable[[], float]] = {
        "import": partial(bench.our_import, safely=False),
        "own import": bench.own_import,
        "safe import": partial(bench.our_import, safely=True),
        "export": bench.our_export,
        "own export": bench.own_export,
    }
    rows = []
    for _ in range(rounds):
        rows.append({name: work() for name, work in turns.items()})
        print(f"{bench.records:,} records: {rows[-1]}", file=sys.stderr)
    took = {name: [row[name] for row in rows] for name in turns}
    own = ("`sentry import`", took["own import"])
    exported = ("`sentry export`", took["own export"])
    return [
        Outcome("scan, import and hand-over", took["import"], *own, wanted=50),
        Outcome("the same with trial and verification", took["safe import"], *own, wanted=10),
        Outcome("export of everything", took["export"], *exported, wanted=3),
    ]


def print_outcomes(records: int, outcomes: list[Outcome]) -> None:
    """Print a table in Markdown, with a verdict for each."""
    print(f"\n### The real product, {records:,} records\n")
    print("| what | s | against | s | times as fast | wanted | |\n|---|--:|---|--:|--:|--:|---|")
    for one in outcomes:
        print(
            f"| {one.what} | {median(one.seconds):.2f} | {one.own} | {median(one.own_seconds):.2f} "
            f"| {one.times:.1f} | {one.wanted:.0f} | "
            f"{'holds' if one.times >= one.wanted else 'falls short'} |"
        )


def main(projects: int, rounds: int) -> None:
    """Measure, and print a table; say so where the product is not set up."""
    if not real_sentry.is_set_up() or real_sentry.missing_tools():
        print("The real product is not set up here: make real-sentry")
        return
    with (
        tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder,
        real_sentry.running() as servers,
        peer(servers, "postgres", Path(folder, "log")) as asked,
    ):
        bench = Bench(World(servers, asked, Path(folder)))
        bench.prepare(projects)
        print_outcomes(bench.records, measure(bench, rounds))


def _chosen() -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("--projects", type=int, default=1830)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main(_chosen().projects, _chosen().rounds)

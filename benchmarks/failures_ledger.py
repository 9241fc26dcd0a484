"""What the ledger's transactions cost, on an empty ledger and on a full one."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text, update

from benchmarks.soak_machines import Postgres
from relocation.database import database_time, engine_options, prepare
from relocation.ledger.dispatch import lease_due
from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.migrate import migrate
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import relocations, utc_now
from relocation.ledger.worklist import abandoned, unsettled_among, with_old_files
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import Status, Task

ROUNDS = 40
FINISHED = int(os.environ.get("FINISHED", "1000000"))


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare_settling(home: Path) -> None:
    """Compare a settlement with ten commits of one row each, on SQLite and PostgreSQL."""
    print("\n## A settlement with two notices, against ten single-row commits (target: 1.0)\n")
    print("| database | settle, ms | ten commits, ms | ratio |\n|---|---|---|---|")
    with Postgres(home / "settling") as postgres:
        for name, engine in (
            ("SQLite", _sqlite(home / "ledger.db")),
            ("PostgreSQL", _engine(postgres.url("ledger"))),
        ):
            migrate(engine)
            ours, theirs = [], []
            for number in range(ROUNDS):
                ours.append(_settling(engine, f"r-{number}"))
                theirs.append(seconds(lambda engine=engine: _ten_commits(engine)))  # type: ignore[misc]
            mine, other = median(ours), median(theirs)
            print(f"| {name} | {mine * 1e3:.1f} | {other * 1e3:.1f} | {mine / other:.2f} |")
            engine.dispose()


def _settling(engine: Engine, relocation_id: str) -> float:
    request = RelocationRequest(archive="a", organizations=["acme"], owner=relocation_id)
    hold = hold_of(open_relocation(engine, relocation_id, request, database_time))
    drafts = [
        NoticeDraft(NoticeKind.FAILED, f"{who}@example.org", {"reason": "No."})
        for who in ("a", "b")
    ]
    settlement = Settlement(Status.FAILURE, "No.", Task.SCAN_EXPORT, "Trace", drafts=drafts)
    return seconds(
        lambda: settle(
            engine,
            relocation_id,
            settlement,
            sender_domain="example.org",
            seen=hold,
            request=request,
            now=utc_now(),
        )
    )


def _ten_commits(engine: Engine) -> None:
    for number in range(10):
        with engine.begin() as connection:
            one = relocations.c.id == "r-0"
            connection.execute(update(relocations).where(one).values(archive_bytes=number))


def compare_queries(home: Path) -> None:
    """Compare what a sweep asks of a full ledger and of an empty one, on PostgreSQL."""
    print(f"\n## A sweep's queries with {FINISHED:,} finished relocations (target: 2.0)\n")
    print("| query | full, ms | empty, ms | ratio |\n|---|---|---|---|")
    with Postgres(home / "queries") as postgres:
        full, empty = _engine(postgres.url("ledger")), _engine(postgres.url("destination"))
        for engine in (full, empty):
            migrate(engine)
        _fill(full)
        now = utc_now()
        long_ago = now - timedelta(days=14)
        some = [f"r-{number}" for number in range(20)]
        queries: dict[str, Callable[[Engine], object]] = {
            "abandoned relocations": lambda engine: abandoned(engine, now),
            "twenty runs, settled or not": lambda engine: unsettled_among(engine, some),
            "old working files": lambda engine: with_old_files(engine, long_ago),
            "next notice of the outbox": lambda engine: lease_due(
                engine, worker="w", lease_seconds=1, now=now
            ),
        }
        plans = {}
        for name, query in queries.items():
            with _recorded(full) as statements:
                query(full)
            plans[name] = [_plan(full, *statement) for statement in statements]
            query(empty)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for engine, taken in zip((full, empty), times, strict=True):
                    taken.append(seconds(lambda e=engine, q=query: q(e)))  # type: ignore[misc]
            a, b = (median(taken) * 1e3 for taken in times)
            print(f"| {name} | {a:.2f} | {b:.2f} | {a / b:.2f} |")
        print("\nTheir plans on the full ledger:\n")
        for name, steps in plans.items():
            print(f"{name}:\n\n```\n" + "\n\n".join(steps) + "\n```\n")
        for engine in (full, empty):
            engine.dispose()


def _fill(engine: Engine) -> None:
    """Put finished relocations into the ledger, each with two notices that were sent."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO relocation (id, status, step, task, round, settled_round, fence,"
                " resumes, owner, archive, organizations, discarding_round, discarded_round,"
                " created_at, updated_at, settled_at)"
                " SELECT 'r-' || n, CASE WHEN n % 5 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END,"
                " 'COMPLETED', 'complete', 1, 1, 1, 0, 'owner' || n, 'archives/a.tar',"
                " '[\"acme\"]', 1, 1, at, at, at FROM (SELECT n, now() - n * interval '1 minute'"
                " AS at FROM generate_series(1, :count) AS n) AS finished"
            ),
            {"count": FINISHED},
        )
        connection.execute(
            text(
                "INSERT INTO notice (relocation_id, round, kind, recipient, about, dedupe_key,"
                " context, message_id, wire, state, tries, ambiguous, not_before, created_at,"
                " sent_at) SELECT 'r-' || n, 1, kind, 'owner' || n || '@example.org', '',"
                " kind || n, '{}', '<' || kind || n || '@example.org>', 'Subject: x', 'sent', 1, 0,"
                " now(), now(), now() FROM generate_series(1, :count) AS n,"
                " (VALUES ('STARTED'), ('SUCCEEDED')) AS kinds (kind)"
            ),
            {"count": FINISHED},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


Parameters = Sequence[Any] | Mapping[str, Any]


@contextmanager
def _recorded(engine: Engine) -> Iterator[list[tuple[str, Parameters]]]:
    statements: list[tuple[str, Parameters]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Parameters, *_more: object
    ) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _plan(engine: Engine, statement: str, parameters: Parameters) -> str:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
        return "\n".join(str(row[0]) for row in rows)


def _engine(url: URL | str) -> Engine:
    return prepare(create_engine(url, **engine_options("postgresql")))


def _sqlite(path: Path) -> Engine:
    return prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))


if __name__ == "__main__":
    import tempfile

    where = Path(tempfile.mkdtemp(prefix="bench-"))
    print(datetime.now(UTC).isoformat(timespec="seconds"))
    compare_settling(where)
    compare_queries(where)

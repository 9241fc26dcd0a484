"""The numbers say what the ledger holds, and reading them walks no table."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from ledgers import at
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event, insert, text

from relocation.cli.numbers import Collector
from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.outbox import enqueue
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.stats import read_stats
from relocation.ledger.tables import NoticeState, TryOutcome, task_tries, utc_now
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import LifecycleEvent, Status, Task

Ask = Callable[..., RelocationRequest]


def _try(ledger: Engine, number: int, outcome: TryOutcome, ended: datetime, seconds: int) -> None:
    row = {
        "relocation_id": "r-1",
        "round": 1,
        "task": Task.SCAN_EXPORT,
        "number": number,
        "started_at": ended - timedelta(seconds=seconds),
        "ended_at": ended,
        "outcome": outcome,
        "worker": "host:1",
    }
    with ledger.begin() as connection:
        connection.execute(insert(task_tries), row)


def test_an_empty_ledger_has_every_status_at_zero(either_ledger: Engine, now: datetime) -> None:
    numbers = read_stats(either_ledger, now)
    assert numbers.relocations == dict.fromkeys(Status, 0)
    assert numbers.oldest_open_seconds is None
    assert numbers.oldest_unsent_seconds is None
    assert numbers.task_seconds == {}


def test_relocations_are_counted_by_status_and_the_oldest_open_one_has_an_age(
    either_ledger: Engine, ask: Ask, now: datetime
) -> None:
    failed = open_relocation(either_ledger, "r-0", ask("anna"), at(now - timedelta(hours=9)))
    settle(
        either_ledger,
        "r-0",
        Settlement(Status.FAILURE, "It failed."),
        sender_domain="example.org",
        seen=hold_of(failed),
        now=utc_now(),
    )
    open_relocation(either_ledger, "r-1", ask("olivia"), at(now - timedelta(minutes=5)))
    numbers = read_stats(either_ledger, now)
    assert numbers.relocations[Status.FAILURE] == 1
    assert numbers.relocations[Status.IN_PROGRESS] == 1
    # The one that failed ended: it is not the oldest open one.
    assert numbers.oldest_open_seconds == 300


def test_unsent_notices_are_counted_and_the_oldest_has_an_age(
    either_ledger: Engine, ask: Ask, now: datetime
) -> None:
    open_relocation(either_ledger, "r-1", ask(), at(now))
    with either_ledger.begin() as connection:
        draft = NoticeDraft(NoticeKind.STARTED, "o@example.org", {})
        enqueue(connection, "r-1", 1, [draft], sender_domain="example.org", now=now)
    numbers = read_stats(either_ledger, now + timedelta(seconds=40))
    assert numbers.unsent[NoticeState.QUEUED] == 1
    assert numbers.oldest_unsent_seconds == 40


def test_only_tries_of_the_last_hour_count_with_their_percentiles(
    either_ledger: Engine, ask: Ask, now: datetime
) -> None:
    open_relocation(either_ledger, "r-1", ask(), at(now))
    _try(either_ledger, 1, TryOutcome.DONE, now - timedelta(minutes=61), 1_000)
    for number in range(2, 102):
        _try(either_ledger, number, TryOutcome.DONE, now, number - 1)
    _try(either_ledger, 102, TryOutcome.FAILED, now, 1)
    numbers = read_stats(either_ledger, now)
    assert numbers.tries == {Task.SCAN_EXPORT: {TryOutcome.DONE: 100, TryOutcome.FAILED: 1}}
    spread = numbers.task_seconds[Task.SCAN_EXPORT]
    assert spread.count == 101
    assert spread.p50 == pytest.approx(50, abs=1)
    assert spread.p95 == pytest.approx(95, abs=1)


def test_what_happened_in_the_last_hour_is_counted_from_the_histories(
    either_ledger: Engine, ask: Ask, now: datetime
) -> None:
    open_relocation(either_ledger, "r-1", ask(), at(now))
    assert read_stats(either_ledger, now).happenings[LifecycleEvent.OPENED] == 1
    later = now + timedelta(hours=2)
    assert read_stats(either_ledger, later).happenings[LifecycleEvent.OPENED] == 0


def test_no_query_walks_a_whole_table(file_ledger: Engine, now: datetime) -> None:
    statements: list[tuple[str, tuple[Any, ...]]] = []

    @event.listens_for(file_ledger, "before_cursor_execute")
    def keep(_c: object, _k: object, sql: str, values: tuple[Any, ...], *_: object) -> None:
        statements.append((sql, values))

    read_stats(file_ledger, now)
    event.remove(file_ledger, "before_cursor_execute", keep)
    assert statements
    with file_ledger.connect() as connection:
        for sql, values in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
            walks = [row[3] for row in plan if row[3].startswith("SCAN") and "INDEX" not in row[3]]
            assert walks == [], sql


def test_prometheus_reads_the_numbers(either_ledger: Engine, ask: Ask, now: datetime) -> None:
    open_relocation(either_ledger, "r-1", ask(), at(now))
    registry = CollectorRegistry()
    registry.register(Collector(either_ledger))
    families = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(registry).decode())
    }
    assert families["relocation_ledger_up"].samples[0].value == 1
    counts = {
        sample.labels["status"]: sample.value
        for sample in families["relocation_relocations"].samples
    }
    assert counts["IN_PROGRESS"] == 1
    assert counts["SUCCESS"] == 0


def test_a_ledger_that_does_not_answer_is_a_number_too(file_ledger: Engine) -> None:
    with file_ledger.begin() as connection:
        connection.execute(text("ALTER TABLE relocation RENAME TO elsewhere"))
    registry = CollectorRegistry()
    registry.register(Collector(file_ledger))
    said = generate_latest(registry).decode()
    assert "relocation_ledger_up 0.0" in said
    assert "relocation_relocations" not in said

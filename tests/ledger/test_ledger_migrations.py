"""The migrations make exactly the tables that the code uses."""

import re
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from relocation.database import engine_options, prepare
from relocation.ledger.column_types import BoundedText
from relocation.ledger.migrate import VERSION_TABLE, _config, is_current, migrate
from relocation.ledger.outbox import enqueue, notices_of, thread_of
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import metadata, utc_now
from relocation.ledger.tries import done_round
from relocation.ledger.worklist import Discard, begin_discarding, to_discard
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import Step, Task


def _statements(engine: Engine, kind: str = "%") -> set[str]:
    wanted = text(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> :version "
        "AND type LIKE :kind"
    )
    with engine.begin() as connection:
        rows = connection.execute(wanted, {"version": VERSION_TABLE, "kind": kind}).scalars()
        return {" ".join(row.split()) for row in rows}


def test_migrating_makes_exactly_the_tables_of_the_code(ledger: Engine) -> None:
    with ledger.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_migrating_makes_the_same_indexes_to_the_letter(
    ledger: Engine, empty_database: Engine
) -> None:
    """Alembic does not compare the condition of a partial index (B-9)."""
    metadata.create_all(empty_database)
    assert _statements(ledger, "index") == _statements(empty_database, "index")
    assert any("WHERE status IN" in statement for statement in _statements(ledger))


def test_an_empty_database_is_not_current(empty_database: Engine) -> None:
    assert not is_current(empty_database)
    assert inspect(empty_database).get_table_names() == []


def test_a_migrated_database_is_current_and_stays_as_it_is(ledger: Engine) -> None:
    before = _statements(ledger)
    migrate(ledger)
    assert is_current(ledger)
    assert _statements(ledger) == before


def test_a_database_of_another_version_is_not_current(ledger: Engine) -> None:
    with ledger.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'older'"))
    assert not is_current(ledger)


def test_a_failing_migration_leaves_nothing_behind(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.execute(text("CREATE TABLE notice (in_the_way INTEGER)"))
    try:
        migrate(empty_database)
    except Exception as err:  # noqa: BLE001 - whatever the database says
        assert "notice" in str(err)
    else:
        raise AssertionError("the migration went over a table that was in its way")
    assert inspect(empty_database).get_table_names() == ["notice"]


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    barrier = Barrier(4)

    def run() -> None:
        engine = create_engine(f"sqlite:///{tmp_path / 'new.db'}", **engine_options("sqlite"))
        try:
            barrier.wait()
            migrate(prepare(engine))
        except BaseException as err:  # noqa: BLE001 - handed to the test's own thread
            errors.append(err)

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert is_current(prepare(create_engine(f"sqlite:///{tmp_path / 'new.db'}")))


def test_an_older_ledger_keeps_what_it_knows_of_files_and_roll_backs(
    empty_database: Engine,
) -> None:
    """Files that were only marked as removed are removed once more: they hold an export."""
    with empty_database.begin() as connection:
        command.upgrade(_config(connection), "0005")
        for id_, status, round_, kept, error in (
            ("kept", "FAILURE", 2, True, ""),
            ("marked", "SUCCESS", 1, False, ""),
            ("refused", "CANCELLED", 1, True, "not rolled back: 1 of sentry.team"),
            ("cancelled", "CANCELLED", 1, True, ""),
            ("undone", "FAILURE", 1, True, ""),
            ("imported anew", "FAILURE", 2, True, ""),
        ):
            values = {"id": id_, "status": status, "round": round_, "kept": kept, "error": error}
            connection.execute(text(_OLD_RELOCATION), values)
        connection.execute(text(_OLD_DONE))
        for id_ in ("refused", "cancelled", "undone", "imported anew"):
            connection.execute(text(_OLD_HISTORY[0]), {"id": id_})
            connection.execute(text(_OLD_HISTORY[1]), {"id": id_})
        connection.execute(text(_OLD_ANEW))
    migrate(empty_database)
    wanted = {
        "kept": (-1, -1, None),
        "marked": (1, -1, None),
        "refused": (-1, -1, None),
        "cancelled": (-1, -1, "DONE"),
        "undone": (-1, -1, "BEGUN"),
        "imported anew": (-1, -1, None),
    }
    found = {id_: get_relocation(empty_database, id_) for id_ in wanted}
    assert {
        id_: (one.discarding_round, one.discarded_round, one.roll_back)
        for id_, one in found.items()
    } == wanted
    assert done_round(empty_database, "kept", Task.SCAN_EXPORT) == 0
    assert done_round(empty_database, "kept", Task.VALIDATE) == 2
    assert to_discard(empty_database) == [Discard("marked", 0, 1)]
    assert begin_discarding(empty_database, "kept")
    assert Discard("kept", 0, 2) in to_discard(empty_database)


def test_an_older_ledger_learns_the_name_of_the_step_that_reveals(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        command.upgrade(_config(connection), "0010")
        connection.execute(text(_REVEALING_BEFORE))
    migrate(empty_database)
    relocation = get_relocation(empty_database, "old")
    assert (relocation.step, relocation.pause_before_step) == (Step.REVEALING, Step.REVEALING)
    with empty_database.begin() as connection:
        stored = connection.execute(text("SELECT step, pause_before_step FROM relocation")).one()
    assert stored == ("REVEALING", "REVEALING")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_older_ledger_knows_its_notices_by_hashes_and_tells_nothing_again(
    kind: str, empty_database: Engine, request: pytest.FixtureRequest
) -> None:
    """Keys against doubles hold addresses, in which nobody shall be able to look for one."""
    empty: Engine = empty_database
    if kind == "postgresql":
        empty = request.getfixturevalue("postgres_ledger")
        with empty.begin() as connection:
            command.downgrade(_config(connection), "base")
    long = f"{'x' * 390}@example.org"
    told = [
        NoticeDraft(NoticeKind.STARTED, "Jörg@example.org"),
        NoticeDraft(NoticeKind.CLAIM, "mia@example.org", about="mia", edition=2),
        NoticeDraft(NoticeKind.CLAIM, long, about="y" * 200),
    ]
    with empty.begin() as connection:
        command.upgrade(_config(connection), "0011")
        connection.execute(text(_REVEALING_BEFORE))
        for number, draft in enumerate(told):
            key = BoundedText(600).process_bind_param(draft.key("old", 1), connection.dialect)
            values = {"recipient": draft.recipient, "kind": draft.kind, "key": key}
            connection.execute(text(_OLD_NOTICE), values | {"id": f"<{number}@example.org>"})
    migrate(empty)
    kept = notices_of(empty, "old")
    assert [notice.message_id for notice in kept] == [f"<{n}@example.org>" for n in range(3)]
    assert all(re.fullmatch("[0-9a-f]{64}", notice.dedupe_key) for notice in kept)
    new = NoticeDraft(NoticeKind.STARTED, "marcus@example.org")
    with empty.begin() as connection:
        notices, domain = [*told, new], "example.org"
        assert enqueue(connection, "old", 1, notices, sender_domain=domain, now=utc_now()) == 1
    failed = replace(kept[0], kind=NoticeKind.FAILED)
    assert thread_of(empty, failed) == kept[0].message_id


def test_the_old_name_of_a_step_is_still_read(ledger: Engine) -> None:
    """A process of an older version may write it while the workers are replaced."""
    with ledger.begin() as connection:
        connection.execute(text(_REVEALING_BEFORE))
    assert get_relocation(ledger, "old").step is Step.REVEALING
    assert Step["NOTIFYING"] is Step.REVEALING


_REVEALING_BEFORE = """
    INSERT INTO relocation (id, status, step, round, settled_round, fence, owner, archive,
        organizations, pause_before_step, created_at, updated_at)
    VALUES ('old', 'PAUSED', 'NOTIFYING', 1, 0, 1, 'o', 'a', '[]', 'NOTIFYING', '2026-01-01',
        '2026-01-01')
"""
_OLD_NOTICE = """
    INSERT INTO notice (relocation_id, round, kind, recipient, about, dedupe_key, context,
        message_id, state, tries, ambiguous, not_before, created_at)
    VALUES ('old', 1, :kind, :recipient, '', :key, '{}', :id, 'sent', 1, 0, '2026-01-01',
        '2026-01-01')
"""
_OLD_RELOCATION = """
    INSERT INTO relocation (id, status, step, round, settled_round, fence, owner, archive,
        organizations, files_kept, internal_error, created_at, updated_at)
    VALUES (:id, :status, 'IMPORTING', :round, :round, 1, :id, 'a', '[]', :kept, :error,
        '2026-01-01', '2026-01-01')
"""
_OLD_DONE = """
    INSERT INTO task_done (relocation_id, task, round, done_at, result)
    VALUES ('kept', 'scan_export', 1, '2026-01-01', '{}'),
        ('kept', 'validate', 2, '2026-01-01', '{}')
"""
_OLD_HISTORY = (
    """
    INSERT INTO task_try (relocation_id, round, task, number, started_at, worker)
    VALUES (:id, 1, 'import_organizations', 1, '2026-01-01', '')
    """,
    """
    INSERT INTO event (relocation_id, round, at, what, detail)
    VALUES (:id, 1, '2026-01-02', 'ROLLED_BACK', '')
    """,
)
_OLD_ANEW = """
    INSERT INTO task_try (relocation_id, round, task, number, started_at, worker)
    VALUES ('imported anew', 2, 'import_organizations', 1, '2026-01-03', '')
"""

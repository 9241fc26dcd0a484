"""The migrations make exactly the tables that the code uses."""

from pathlib import Path
from threading import Barrier, Thread

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from relocation.database import engine_options, prepare
from relocation.ledger.migrate import VERSION_TABLE, is_current, migrate
from relocation.ledger.tables import metadata


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

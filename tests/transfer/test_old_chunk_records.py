"""What tells which rows an import wrote goes last of all, and only where nobody is ahead of us."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from relocation.catalogue import Scope, load_catalogue
from relocation.example import example_export
from relocation.transfer.load.chunks import remove_chunks, written_chunks
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.source import RecordList

Rows = Callable[[str], list[dict[str, Any]]]


def relocate(engine: Engine, relocation_id: str, fence: int) -> None:
    admitted = {model.name for model in load_catalogue().admitted(Scope.ORGANIZATION)}
    records = [one for one in example_export(organizations=1) if one.model in admitted]
    bind(engine, relocation_id, fence)
    import_records(
        engine,
        RecordList(records, load_catalogue()),
        relocation_id=relocation_id,
        fence=fence,
        chunk_records=50,
    )


def test_the_records_of_named_imports_go_and_what_they_imported_stays(
    destination: Engine, owner: int, rows: Rows
) -> None:
    relocate(destination, "old", 3)
    relocate(destination, "new", 1)
    others, organizations = written_chunks(destination, "new"), rows("sentry.organization")
    for _ in range(2):
        assert remove_chunks(destination, {"old": 3, "of another destination": 1}) == set()
    assert written_chunks(destination, "old") == []
    assert written_chunks(destination, "new") == others
    assert rows("sentry.organization") == organizations


def test_an_import_that_went_on_after_the_ledgers_back_up_keeps_its_records(
    destination: Engine, owner: int
) -> None:
    relocate(destination, "old", 3)
    kept = written_chunks(destination, "old")
    assert remove_chunks(destination, {"old": 2}) == {"old"}
    assert written_chunks(destination, "old") == kept

"""The engine beside what a database and a JSON parser can do at best.

`python -m benchmarks.transfer --records 100000 --rounds 5`
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Engine, MetaData, Table, select

from benchmarks.measuring import Result, options, print_results, side_by_side, timed
from benchmarks.stage import Stage, destination, postgresql, run_import, run_trial, stage
from relocation.catalogue import load_catalogue
from relocation.transfer.bulk import bulk_work
from relocation.transfer.prepare import sealing

Rows = Sequence[tuple[Table, list[str], list[tuple[Any, ...]]]]


def rows_of(engine: Engine) -> Rows:
    """Return what an import wrote, as the driver takes it: table, columns, rows."""
    metadata = MetaData()
    names = [model.table for model in load_catalogue().newest().values()]
    metadata.reflect(engine, only=names, resolve_fks=False)
    found = []
    with engine.connect() as connection:
        for name in names:
            table = metadata.tables[name]
            query = str(select(table).order_by(table.c.id).compile(engine))
            cursor = connection.exec_driver_sql(query)
            rows = [tuple(_for_driver(value, engine) for value in row) for row in cursor]
            if rows:
                found.append((table, [column.name for column in table.columns], rows))
    return found


def _for_driver(value: object, engine: Engine) -> object:
    structured = engine.dialect.name == "postgresql" and isinstance(value, (dict, list))
    return Jsonb(value) if structured else value


def copy_rows(connection: Connection, rows: Rows) -> None:
    """Write rows with psycopg's COPY, as its documentation shows."""
    cursor = connection.connection.cursor()
    for table, names, values in rows:
        columns = ", ".join(f'"{name}"' for name in names)
        with cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
            for row in values:
                copy.write_row(row)


def execute_many(connection: Connection, rows: Rows) -> None:
    """Write rows with the driver's executemany."""
    cursor = connection.connection.cursor()
    for table, names, values in rows:
        columns = ", ".join(f'"{name}"' for name in names)
        marks = ", ".join("?" for _ in names)
        cursor.executemany(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', values)


def import_beside(
    here: Stage,
    address: str,
    name: str,
    write: Callable[[Connection, Rows], None],
    *,
    bound: str,
    rounds: int,
) -> Result:
    """Measure the import against plain writing of the rows it wrote, into the same tables."""
    source = here.normalised()
    with destination(address) as engine:
        count = run_import(engine, source)
        rows = rows_of(engine)

    def importing() -> float:
        with destination(address) as engine:
            return timed(lambda: run_import(engine, source))

    def writing() -> float:
        with destination(address) as engine, engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

            def work() -> None:
                write(connection, rows)
                connection.commit()

            return timed(work)

    return side_by_side(
        f"import of {count:,} records", importing, name, writing, bound=bound, rounds=rounds
    )


def scan_beside(here: Stage, rounds: int) -> list[Result]:
    """Measure scanning against parsing of the same bytes, with encryption and without."""
    text = here.plain.read_bytes()

    def parsing() -> float:
        with bulk_work():
            return timed(lambda: orjson.loads(text))

    def unencrypted() -> float:
        with _no_encryption():
            return timed(here.scan_plain)

    return [
        side_by_side(
            "scan and normalise, not compressed or encrypted",
            unencrypted,
            "orjson.loads",
            parsing,
            bound="<= 4",
            rounds=rounds,
        ),
        side_by_side(
            "the same, compressed and encrypted",
            lambda: timed(here.scan_plain),
            "orjson.loads",
            parsing,
            bound="",
            rounds=rounds,
        ),
        side_by_side(
            "the same, of an encrypted archive",
            lambda: timed(here.scan_archive),
            "orjson.loads",
            parsing,
            bound="",
            rounds=rounds,
        ),
    ]


@contextmanager
def _no_encryption() -> Any:
    with patch.object(sealing.Cipher, "seal", lambda _self, _key, data: data):
        yield


def trial_beside(here: Stage, address: str, rounds: int) -> Result:
    """Measure a trial import, with its export and comparison, against the import."""
    source = here.normalised()

    def trying() -> float:
        with destination(address) as engine:
            return timed(lambda: run_trial(engine, here))

    def importing() -> float:
        with destination(address) as engine:
            return timed(lambda: run_import(engine, source))

    return side_by_side(
        "trial import, export, compare", trying, "import", importing, bound="<= 4", rounds=rounds
    )


def measure(records: int, rounds: int) -> list[Result]:
    """Run every comparison of this module."""
    with stage(records) as here, postgresql() as server, tempfile.TemporaryDirectory() as folder:
        found = scan_beside(here, rounds)
        found.append(
            import_beside(
                here,
                server,
                "psycopg COPY of the same rows",
                copy_rows,
                bound="<= 1.6",
                rounds=rounds,
            )
        )
        found.append(trial_beside(here, server, max(1, rounds // 2)))
        found.append(
            import_beside(
                here,
                f"sqlite:///{Path(folder)}",
                "sqlite3 executemany of the same rows",
                execute_many,
                bound="<= 2",
                rounds=rounds,
            )
        )
        return found


def main(records: int, rounds: int) -> None:
    """Measure, and print a table."""
    print_results(f"{records:,} records", measure(records, rounds))


if __name__ == "__main__":
    chosen = options(records=100_000, rounds=5)
    main(chosen.records, chosen.rounds)

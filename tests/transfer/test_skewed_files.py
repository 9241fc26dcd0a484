"""A few records that are far larger than the others take no more memory than any file may."""

import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from itertools import chain, cycle, islice

import pytest
from dict_storage import DictStorage
from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.example import example_export
from relocation.transfer.load.chunks import bind, recorded_sizes, smallest_chunks
from relocation.transfer.load.importing import import_records
from relocation.transfer.prepare.normalised import (
    Normalised,
    NormalisedWriter,
    open_normalised,
    write_records,
)
from relocation.transfer.prepare.scan import scan_export

EXAMPLE = example_export(organizations=1, members=2, projects=1)
PROJECT = next(record.pk for record in EXAMPLE if record.model == "sentry.project")
OPTIONS = "sentry.projectoption"
LARGE = 6
Open = Callable[[], Normalised]


def options(large: int, small: int = 30) -> list[Record]:
    """Return small records, then large ones, as another skewed file has them."""
    values: list[object] = ["x"] * small
    values += [[[] for _ in range(60_000)] for _ in range(large)]
    return [
        Record(OPTIONS, 1000 + number, {"project": PROJECT, "key": f"k{number}", "value": value})
        for number, value in enumerate(values)
    ]


@pytest.fixture
def skewed(storage: DictStorage, keys: tuple[str, str]) -> Normalised:
    """The working form of an export with a few large records."""
    others = [record for record in EXAMPLE if record.model != OPTIONS]
    write_records(storage, "export", keys[1], [*others, *options(LARGE)])
    return open_normalised(storage, "export", keys[0])


def test_chunks_are_cut_by_what_was_really_read(destination: Engine, skewed: Normalised) -> None:
    name = str(uuid.uuid4())
    bind(destination, name, 1)
    report = import_records(destination, skewed, relocation_id=name, fence=1)
    sizes = [
        size
        for (model, _), size in sorted(recorded_sizes(destination, name).items())
        if model == OPTIONS
    ]
    assert sum(sizes) == report.inserted(OPTIONS) == 30 + LARGE
    assert sizes == [34, 2]  # about 8 MB each in memory, and 32 MB a chunk
    assert smallest_chunks(destination, name) == {OPTIONS: 34}


def test_an_import_that_was_killed_goes_on_with_the_same_chunks(
    destination: Engine, skewed: Normalised
) -> None:
    name = str(uuid.uuid4())
    bind(destination, name, 1)
    few = import_records(destination, skewed, relocation_id=name, fence=1, chunk_records=7)
    again = import_records(destination, skewed, relocation_id=name, fence=1)
    assert again == few


def test_portions_are_small_save_where_one_record_is_large(
    skewed: Normalised,
) -> None:
    portions = list(skewed.portions(OPTIONS))
    assert [record for records, _ in portions for record in records] == list(
        skewed.records(OPTIONS)
    )
    assert [len(records) for records, _ in portions] == [30] + [1] * LARGE
    assert portions[0].weight < 100_000
    assert min(weight for _, weight in portions[1:]) > 4_000_000


def test_a_scan_holds_few_large_records_at_once(
    make_storage: Callable[[], DictStorage], keys: tuple[str, str]
) -> None:
    def peak(large: int) -> int:
        records = [record for record in EXAMPLE if record.model != OPTIONS]
        tracemalloc.start()
        try:
            scan_export(
                chain(records, _each(large)),
                wanted=["acme"],
                max_organizations=9,
                max_users=99,
                storage=make_storage(),
                prefix="export",
                public_pem=keys[1],
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(25) < peak(5) + 10_000_000  # each takes 2 MB


def test_records_that_wait_for_their_part_take_as_much_memory_as_their_text(
    storage: DictStorage, keys: tuple[str, str]
) -> None:
    writer = NormalisedWriter(storage, "export", keys[1])
    tracemalloc.start()
    try:
        for record in islice(cycle(options(0)), 4000):
            writer.add(record)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000  # 240 bytes each
    finally:
        tracemalloc.stop()


def _each(large: int) -> Iterator[Record]:
    for number in range(large):
        value: list[list[object]] = [[] for _ in range(25_000)]
        fields = {"project": PROJECT, "key": f"k{number}", "value": value}
        yield Record(OPTIONS, 2000 + number, fields)

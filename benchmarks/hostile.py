"""What skewed exports cost, each in a process of its own: `python -m benchmarks.hostile`.

Six sorts of large values, up to what one element of an export may have, in files of rising size.
A process scans the file, tries the import, and imports into SQLite. Processor time counts, so that
a busy machine changes little: it has to follow the size of the file, and memory must not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from benchmarks.stage import Stage, destination, private_key, run_import, run_trial
from relocation.archive.keys import public_key_of
from relocation.errors import PermanentError
from relocation.example import example_export, write_export
from relocation.transfer.prepare.normalised import write_records

MB = 1_000_000
MOST_MB = 512
MOST_RATIO = 1.5
"""How much longer a megabyte of the largest file may take than one of the smallest."""
LARGEST = 7.6
"""Megabytes: an element may have 8 MiB."""

SORTS: dict[str, Callable[[int], str]] = {
    "escapes": lambda size: '"' + "\\u0041" * (size // 6) + '"',
    "beyond ASCII": lambda size: '"' + "é" * (size // 2) + '"',
    "plain text": lambda size: '"' + "x" * size + '"',
    "small numbers": lambda size: "[" + ",".join("1" * min(size // 2, 200_000)) + "]",
    "empty lists": lambda size: "[" + ",".join(["[]"] * min(size // 3, 100_000)) + "]",
    "more than may be": lambda size: "[" + ",".join(["[]"] * (size // 3)) + "]",
}
"""How to write a value of about so many bytes."""
STRINGS = ("escapes", "beyond ASCII", "plain text")


@dataclass(frozen=True)
class Hostile(Stage):
    """An export of few small records, then of large ones until it has its size."""

    sort: str
    each: float
    """Megabytes of a value, as far as its sort allows."""
    size: float
    """Megabytes of the file."""

    @property
    def slugs(self) -> list[str]:
        return ["acme"]

    def prepare(self) -> "Hostile":
        write_records(self.storage, "nothing", public_key_of(private_key()), [])
        small = example_export(organizations=1, members=2, projects=1)
        project = next(record.pk for record in small if record.model == "sentry.project")
        start, value = BytesIO(), SORTS[self.sort](int(self.each * MB))
        write_export(small, start)
        with self.plain.open("w") as out:
            out.write(start.getvalue().decode().rstrip().removesuffix("]"))
            for number in range(max(1, round(self.size * MB / len(value.encode())))):
                fields = f'{{"project":{project},"key":"k{number}","value":{value}}}'
                head = f',{{"model":"sentry.projectoption","pk":{9000 + number},'
                out.write(f'{head}"fields":{fields}}}')
            out.write("]")
        return self


@dataclass(frozen=True)
class Cost:
    """What a file cost: seconds of processor time by step, and the most memory."""

    sort: str
    each: float
    megabytes: float
    scan: float
    trial: float
    load: float
    peak: float
    refused: bool = False

    @property
    def by_megabyte(self) -> float:
        return (self.scan + self.trial + self.load) / self.megabytes


def cost(here: Hostile) -> Cost:
    """Do what a relocation does, in this process."""
    seconds, refused = [0.0, 0.0, 0.0], False

    def run(step: int, work: Callable[[], object]) -> None:
        begin = time.process_time()
        try:
            work()
        finally:  # what is refused takes its time as well
            seconds[step] = time.process_time() - begin

    try:
        run(0, here.scan_plain)
        source = here.normalised()
        with destination(f"sqlite:///{here.folder}") as engine:
            run(1, lambda: run_trial(engine, here))
            run(2, lambda: run_import(engine, source))
    except PermanentError:
        refused = True
    megabytes = here.plain.stat().st_size / MB
    scan, trial, load = seconds
    return Cost(here.sort, here.each, megabytes, scan, trial, load, _peak(), refused)


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_a_process(sort: str, each: float, size: float) -> Cost:
    """Make a file, and measure it in a process of its own."""
    private_key()  # the process inherits it
    with tempfile.TemporaryDirectory(prefix="relocation-hostile-") as folder:
        asked = ["--in", folder, sort, str(each), str(size)]
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [sys.executable, "-m", "benchmarks.hostile", *asked], check=True, stdout=subprocess.PIPE
        )
        print(done.stdout.decode().strip(), file=sys.stderr)
        return Cost(**json.loads(done.stdout))


def measure(
    sizes: list[float], sorts: list[str]
) -> tuple[dict[str, list[Cost]], dict[str, list[Cost]]]:
    """Measure files of these sizes; and the smallest of them with strings of three sizes."""
    files = {sort: [in_a_process(sort, LARGEST, size) for size in sizes] for sort in sorts}
    values = {
        sort: [in_a_process(sort, LARGEST / part, sizes[0]) for part in (4, 2, 1)]
        for sort in STRINGS
        if sort in sorts
    }
    return files, values


def lines(found: dict[str, list[Cost]]) -> Iterator[str]:
    """Yield a line of a table for each file, and for each sort how the largest compares."""
    for costs in found.values():
        for one in costs:
            what = f"{one.sort}, refused" if one.refused else one.sort
            yield (
                f"| {what} | {one.megabytes:.0f} | {one.each:.1f} | {one.scan:.1f} | "
                f"{one.trial:.1f} | {one.load:.1f} | {one.peak:.0f} | |"
            )
        ratio = costs[-1].by_megabyte / costs[0].by_megabyte
        most = max(one.peak for one in costs)
        good = most < MOST_MB and ratio <= MOST_RATIO
        verdict = "holds" if good else "falls short"
        yield f"| | | | | | a MB: {ratio:.2f} times | {most:.0f} | {verdict} |"


def main(sizes: list[float], sorts: list[str]) -> None:
    """Measure, and print two tables."""
    titles = ("Skewed files of rising size", "Values of rising size")
    for title, found in zip(titles, measure(sizes, sorts), strict=True):
        print(f"\n### {title}\n\n| values of | MB | each | scan s | trial | import | peak MB | |")
        print("|---|--:|--:|--:|--:|--:|--:|---|")
        print("\n".join(lines(found)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", type=float, default=[48, 96, 192])
    parser.add_argument("--in", nargs=4, dest="inside", metavar=("FOLDER", "SORT", "EACH", "SIZE"))
    chosen = parser.parse_args()
    if chosen.inside:
        folder, sort, each, size = chosen.inside
        here = Hostile(Path(folder), 0, sort, float(each), float(size)).prepare()
        print(json.dumps(cost(here).__dict__))
    else:
        main(chosen.sizes, list(SORTS))

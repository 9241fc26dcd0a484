"""How time and memory grow with the export, each size in a process of its own.

`python -m benchmarks.growth --records 1000000`: that size, a tenth and a hundredth of it. A process
does what a relocation does: scan the archive, try the import, import.
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import timed
from benchmarks.stage import (
    Stage,
    destination,
    postgresql,
    private_key,
    run_import,
    run_trial,
    stage,
)

Found = dict[str, list[float]]
"""By step: seconds, and the most MB that the process had used by its end."""


def relocate(here: Stage, server: str) -> Found:
    """Do what a relocation does, in this process, which has all loaded that its flow would."""
    importlib.import_module("flows.relocate")
    found: Found = {"start": [0.0, _peak()]}
    found["scan"] = [timed(here.scan_archive), _peak()]
    source = here.normalised()
    with destination(server) as engine:
        found["trial"] = [timed(lambda: run_trial(engine, here)), _peak()]
        found["import"] = [timed(lambda: run_import(engine, source)), _peak()]
    return found


def _peak() -> float:
    # Not getrusage: its maximum begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(records: int) -> dict[int, Found]:
    """Measure three sizes."""
    found = {}
    private_key()  # the processes inherit it
    with postgresql() as server:
        for size in (records // 100, records // 10, records):
            with stage(size) as here:
                command = ["-m", "benchmarks.growth", "--records", str(size)]
                inside = ["--in", str(here.folder), server]
                done = subprocess.run(  # noqa: S603
                    [sys.executable, *command, *inside], check=True, stdout=subprocess.PIPE
                )
                found[size] = json.loads(done.stdout)
    return found


def print_growth(found: dict[int, Found]) -> None:
    """Print seconds, peak memory, and what each further record costs, in Markdown."""
    print("\n### Growth\n\n| records | step | s | peak MB |\n|--:|---|--:|--:|")
    for size, steps in found.items():
        for step, (seconds, peak) in steps.items():
            print(f"| {size:,} | {step} | {seconds:.2f} | {peak:.0f} |")
    small, middle, large = found
    print("\n| step | rows/s, small to middle | middle to large | change |\n|---|--:|--:|--:|")
    for step in ("scan", "trial", "import"):
        took = {size: found[size][step][0] for size in found}
        first = (middle - small) / (took[middle] - took[small])
        second = (large - middle) / (took[large] - took[middle])
        print(f"| {step} | {first:,.0f} | {second:,.0f} | {second / first - 1:+.0%} |")


def main(records: int) -> None:
    """Measure, and print a table."""
    print_growth(measure(records))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--in", nargs=2, dest="inside", metavar=("FOLDER", "SERVER"))
    chosen = parser.parse_args()
    if chosen.inside:
        folder, server = chosen.inside
        print(json.dumps(relocate(Stage(Path(folder), chosen.records), server)))
    else:
        main(chosen.records)

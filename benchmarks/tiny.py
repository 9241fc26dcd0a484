"""Run the benchmarks at a tiny size, so that none rots (`make bench-tiny`); no figure counts.

Those of failures read their sizes from the environment. Those with workers: `make bench-workers`.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import failures, growth, hostile, loaddata, notices, outbox, transfer

RECORDS = 300


def main() -> None:
    """Run them all, and say how long each took."""
    print("\n| benchmark | s |\n|---|--:|\n" + "\n".join(_all()))


def _all() -> list[str]:
    took = []
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        works: dict[str, Callable[[], object]] = {
            "notices": lambda: notices.main(rounds=1),
            "outbox": lambda: outbox.main(mails=60, rounds=1),
            "transfer": lambda: transfer.main(RECORDS, 1),
            "loaddata": lambda: loaddata.main(RECORDS),
            "growth": lambda: growth.main(RECORDS * 100),
            "hostile": lambda: hostile.main([2, 4], ["escapes", "empty lists"]),
            "failures": lambda: failures.in_one_process(Path(folder)),
        }
        for name, run in works.items():
            began = time.monotonic()
            run()
            took.append(f"| {name} | {time.monotonic() - began:.0f} |")
    return took


if __name__ == "__main__":
    main()

"""Run every benchmark at a tiny size, so that none rots (`make bench-tiny`); no figure counts.

The larger ones of failures read their sizes from the environment.
"""

import time

from benchmarks import failures, growth, loaddata, notices, transfer

RECORDS = 300


def main() -> None:
    """Run them all, and say how long each took."""
    took = {}
    for name, run in {
        "notices": lambda: notices.main(claims=60, rounds=1),
        "transfer": lambda: transfer.main(RECORDS, 1),
        "loaddata": lambda: loaddata.main(RECORDS),
        "growth": lambda: growth.main(RECORDS * 100),
        "failures": failures.main,
    }.items():
        began = time.monotonic()
        run()
        took[name] = time.monotonic() - began
    print("\n| benchmark | s |\n|---|--:|")
    for name, seconds in took.items():
        print(f"| {name} | {seconds:.0f} |")


if __name__ == "__main__":
    main()

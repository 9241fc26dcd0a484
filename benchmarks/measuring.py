"""Measure things side by side, and print what came out."""

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

Run = Callable[[], float]
"""Does the work once, and returns the seconds that count."""


@dataclass(frozen=True)
class Result:
    """A measurement, what it is held against, and the bound for their ratio."""

    what: str
    against: str
    ratio: float
    bound: str
    seconds: float
    other_seconds: float


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that the work takes, begun with a clean memory."""
    gc.collect()
    begin = time.perf_counter()
    outcome = work()
    seconds = time.perf_counter() - begin
    del outcome  # to free it is no part of the work
    return seconds


def side_by_side(
    what: str, run: Run, against: str, other: Run, *, bound: str, rounds: int
) -> Result:
    """Run both in turn, so that a slow minute of the machine slows both; the medians count.

    The ratio is the median of the rounds' ratios.
    """
    pairs = [(run(), other()) for _ in range(rounds)]
    ratio = median(mine / theirs for mine, theirs in pairs)
    mine, theirs = zip(*pairs, strict=True)
    return Result(what, against, ratio, bound, median(mine), median(theirs))


def print_results(title: str, results: Sequence[Result]) -> None:
    """Print a table in Markdown."""
    print(
        f"\n### {title}\n\n| what | s | against | s | ratio | must be |\n|---|--:|---|--:|--:|---|"
    )
    for found in results:
        print(
            f"| {found.what} | {found.seconds:.2f} | {found.against} | "
            f"{found.other_seconds:.2f} | {found.ratio:.2f} | {found.bound} |"
        )


def options(records: int, rounds: int) -> argparse.Namespace:
    """Read the size of a benchmark from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=records)
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser.parse_args()

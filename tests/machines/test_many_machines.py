"""Relocations on machines that share nothing but the network, one of which dies with its disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.debian_postgres import find_postgres

ROOT = Path(__file__).parents[2]


@pytest.mark.kill
@pytest.mark.skipif(
    find_postgres() is None,
    reason="Prefect needs a PostgreSQL with pg_trgm: make test-tools installs Debian's",
)
def test_nothing_relies_on_a_shared_disk_or_on_one_process() -> None:
    """What must hold is counted by `make machines` itself, which does the same with 20.

    All succeed, each notice arrives once, no row is missing or twice, both machines work, and what
    the dead one had begun goes on on the other.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.machines"],
        cwd=ROOT,
        env={**os.environ, "N": "4"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| relocations that succeeded | 4 | 4 |" in done.stdout
    assert "broken" not in done.stdout

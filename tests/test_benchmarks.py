"""The benchmarks are no part of the package, and rot unseen: each can at least be imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"benchmarks.{name}")
"""


@pytest.mark.deep
def test_every_benchmark_can_be_imported(tmp_path: Path) -> None:
    names = [path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__main__"]
    assert len(names) > 20
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        cwd=ROOT,
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

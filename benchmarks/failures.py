"""What handling failure costs: ratios of medians, taken in turns on one machine in one call."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.failures_ledger import compare_queries, compare_settling
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port, prefect_server

BATCH = int(os.environ.get("BATCH", "100"))
"""Relocations whose marginal time is measured."""


def main() -> None:
    """Run all benchmarks and print their tables."""
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        in_one_process(Path(folder))
        _measure_service(Path(folder, "service"))


def in_one_process(home: Path) -> None:
    """Run those that need no worker."""
    compare_settling(home)
    compare_queries(home)
    _compare_flows(home / "flows")


def _compare_flows(home: Path) -> None:
    home.mkdir()
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox(home / "inbox"))
        server = stack.enter_context(prefect_server(home / "prefect", free_port()))
        os.environ.update(
            PREFECT_API_URL=server.url,
            PREFECT_HOME=str(home / "prefect"),
            RELOCATION_HOME=str(home / "data"),
        )
        # Imported only now: it imports Prefect, which must find the server's address.
        from benchmarks.failures_flows import Flows  # noqa: PLC0415

        flows = Flows(inbox)
        flows.compare_success()
        flows.compare_failure()


def _measure_service(home: Path) -> None:
    # In a process of its own: Prefect has its settings for good once it is imported.
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    home.mkdir()
    command = [sys.executable, "-m", "benchmarks.failures_service", str(home), str(BATCH)]
    subprocess.run(command, check=True)  # noqa: S603 - our own arguments


if __name__ == "__main__":
    main()

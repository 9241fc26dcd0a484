"""Ask the real product about one of its databases."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from real_sentry import PYTHON, RealServers

PEER = Path(__file__).parents[1] / "real_product/peer.py"


class Peer:
    """The product's own code, at work on one database."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, question: str, **given: object) -> Any:
        """Have one of the peer's functions called; raises RuntimeError with what it raises."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": question, **given}) + "\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> Any:
        """Wait for the answer."""
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline() or '{"error": "the peer has died"}')
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["answer"]


@contextlib.contextmanager
def peer(servers: RealServers, database: str, log: Path) -> Iterator[Peer]:
    """Start the product's code on a database; the log takes what it prints."""
    with log.open("a") as told:
        process = subprocess.Popen(
            [PYTHON, PEER],
            env=servers.environment(database),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
        try:
            one = Peer(process)
            one.hear()
            yield one
        finally:
            process.terminate()
            process.communicate()

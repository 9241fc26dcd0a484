"""The command line as an operator uses it, and patience with what it starts."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from httpx import Response
from prefect.client.base import PrefectHttpxSyncClient

T = TypeVar("T")


COMMAND = Path(sys.executable).parent / "relocation"
PATIENCE = 600
"""Seconds after which something certain has hung: no machine is that slow."""


class CommandLine:
    """Runs `relocation` in a folder and an environment."""

    home: Path
    environment: dict[str, str]

    def api(self, method: str, path: str, body: object = None) -> Response:
        """Ask Prefect's API, and again while it is busy: SQLite has one writer at a time.

        What it refuses raises PrefectHTTPStatusError.
        """
        with PrefectHttpxSyncClient(base_url=self.environment["PREFECT_API_URL"]) as client:
            return client.request(method, path, json=body)

    def run(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run the command `relocation`, which must end with the code."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """Run the command with --json and read what it prints."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def until(self, holds: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        """Wait until something holds, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.1)
        raise AssertionError(f"did not come to hold within {seconds} seconds")

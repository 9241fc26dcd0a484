"""`relocation up` on this machine, and what an operator does with it."""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from command_line import COMMAND, PATIENCE, CommandLine

from relocation.local.processes import free_port


@dataclass
class Up(CommandLine):
    """A home, and the process that is up in it while there is one."""

    home: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[str] | None" = None
    said: str = ""
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            **os.environ,
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "RELOCATION_HOME": str(self.home),
            "RELOCATION_BACKOFF": "0.1",
            "RELOCATION_CHUNK_RECORDS": "50",
            "RELOCATION_LEASE_SECONDS": "6",
            "RELOCATION_LEASE_RENEWAL": "2",
            "COLUMNS": "200",
        }

    def start(self) -> None:
        """Run `relocation up` until it says that it is."""
        log = self.home.with_suffix(".log")
        with log.open("w") as out:
            process = self.process = subprocess.Popen(
                [COMMAND, "up", "--example", "--port", str(self.port)],
                env=self.environment,
                stdout=out,
                stderr=out,
                text=True,
            )
        self.until(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None)
        self.said = log.read_text()
        assert process.poll() is None, self.said

    def stop(self) -> str:
        """Press Ctrl-C; return what it said."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0
        self.process = None
        return self.home.with_suffix(".log").read_text()

    def processes(self) -> list[str]:
        """Name every process on this machine that was started with this home."""
        found = []
        for one in psutil.process_iter():
            try:
                if one.environ().get("RELOCATION_HOME") == str(self.home):
                    found.append(" ".join(one.cmdline()))
            except psutil.Error:
                continue
        return found

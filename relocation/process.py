"""Name this process."""

import os
import socket


def worker_name() -> str:
    """Name this process for the ledger: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"

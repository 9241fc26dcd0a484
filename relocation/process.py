"""Name this process and this machine."""

import os
import socket

LOOPBACK = "127.0.0.1"


def worker_name() -> str:
    """Name this process for the ledger: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"

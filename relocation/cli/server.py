"""Find the Prefect server before Prefect is imported, and refuse in words where there is none."""

import functools
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from relocation.cli.output import ADDRESS, TO_START, fail, no_answer
from relocation.local.address import recorded_address
from relocation.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

_SECONDS = 3
_FILES = ("prefect.toml", "pyproject.toml", ".env")
"""Where Prefect looks in the working folder for settings, besides its profiles."""


def on_server(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command find the server first; it ends with words where there is none."""

    @functools.wraps(command)
    def found(*arguments: P.args, **options: P.kwargs) -> R:
        reach_server()
        return command(*arguments, **options)

    return found


def reach_server() -> None:
    """End the command, within a second or so, unless a Prefect server is known and listens."""
    if _chosen():
        return
    url = find_server()
    if url is None:
        if _configured_elsewhere():
            return
        fail(f"No Prefect server is known. {TO_START}")
    if not _listens(url):
        fail(no_answer(url))


def server_listens() -> bool:
    """Say whether a Prefect server is known and takes connections."""
    url = find_server()
    return url is not None and _listens(url)


def find_server() -> str | None:
    """Return the server's address from the environment, else the one that `up` recorded.

    What was recorded is put into the environment, where Prefect and what we start read it.
    """
    if named := os.environ.get(ADDRESS):
        return named
    url = recorded_address(Settings().home)
    if url:
        os.environ[ADDRESS] = url
    return url


def _chosen() -> bool:
    """Say whether this process has Prefect, with a server, already: as a test has."""
    settings = sys.modules.get("prefect.settings")
    return settings is not None and bool(settings.PREFECT_API_URL.value())


def _configured_elsewhere() -> bool:
    """Say whether a profile or a file of Prefect's own may name a server."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    for file in (home / "profiles.toml", *map(Path, _FILES)):
        with suppress(OSError, UnicodeDecodeError):
            text = file.read_text(encoding="utf-8").lower()
            if ADDRESS.lower() in text or (file.suffix == ".toml" and "prefect.api" in text):
                return True
            if file.name == "prefect.toml" and "[api]" in text:
                return True
    return False


def _listens(url: str) -> bool:
    """Say whether anything takes a connection there; taken for so where a proxy is between."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return True
    with suppress(OSError, ValueError):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=_SECONDS).close()
        return True
    return False

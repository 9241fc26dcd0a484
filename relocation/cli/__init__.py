"""The command `relocation`."""

from relocation.cli.main import main

__all__ = ["main"]

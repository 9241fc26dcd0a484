"""Where archives and working files lie, whatever holds them."""

from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Named byte strings; a key is a relative path with forward slashes."""

    def open(self, key: str) -> BinaryIO:
        """Open for reading from the start; raises FileNotFoundError."""

    def write(self, key: str, data: bytes) -> None:
        """Store under the key, replacing what was there."""

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start; the key appears when all of it is there."""

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""

"""Where archives and working files lie: whatever holds them, and a folder that does."""

from pathlib import Path
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


class FolderStorage:
    """A folder as a `Storage`; its keys must be our own, since they are not checked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        return (self._folder / key).open("rb")

    def write(self, key: str, data: bytes) -> None:
        """Store under the key."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start."""
        file.seek(0)
        self.write(key, file.read())

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""
        (self._folder / key).unlink(missing_ok=True)

"""Where archives and working files lie: whatever holds them, and a folder that does."""

import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from relocation.errors import RequestError

_PIECE = 1024**2


class Storage(Protocol):
    """Named byte strings; a key is a relative path with forward slashes."""

    def open(self, key: str) -> BinaryIO:
        """Open for reading from the start, in pieces; raises FileNotFoundError."""

    def write(self, key: str, data: bytes) -> None:
        """Store under the key, replacing what was there."""

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start; the key appears when all of it is there."""

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""


class FolderStorage:
    """A folder as a `Storage`: files appear whole or not at all, readable by us alone.

    Raises RequestError for a key that leads outside the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        return self._path(key).open("rb")

    def write(self, key: str, data: bytes) -> None:
        """Store under the key."""
        self.write_file(key, BytesIO(data))

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            file.seek(0)
            with os.fdopen(descriptor, "wb") as part:
                shutil.copyfileobj(file, part, _PIECE)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self._folder / key).resolve()
        if self._folder not in path.parents:
            raise RequestError("The archive must be inside the relocation storage.")
        return path

"""A storage in memory."""

import io
from typing import BinaryIO


class DictStorage:
    """A storage whose objects a test can look at."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def open(self, key: str) -> io.BytesIO:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return io.BytesIO(self.objects[key])

    def write(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def write_file(self, key: str, file: BinaryIO) -> None:
        file.seek(0)
        self.objects[key] = file.read()

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

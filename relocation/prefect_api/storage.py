"""The relocation storage on a Prefect block: a folder, a remote file system, or a bucket."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from prefect.filesystems import SMB, LocalFileSystem, RemoteFileSystem
from pydantic import ConfigDict, Field, field_validator

from relocation.archive.storage import FolderStorage, Storage
from relocation.errors import ConfigurationError
from relocation.prefect_api.buckets import PIECE, BucketStorage, bucket_of

R = TypeVar("R")

_LOOKS_SECRET = re.compile(
    r'"([^"]*(?:pass|secret|token|key|credential|connection_string)[^"]*)":', re.IGNORECASE
)


class RemoteStorage(Block):
    """A remote file system whose settings are secret; those of Prefect's own block are not."""

    _block_type_name = "Relocation remote storage"
    _block_type_slug = "relocation-remote-storage"
    model_config = ConfigDict(hide_input_in_errors=True)
    _description = "Remote file system that holds the archives and working files of relocation."

    basepath: str = Field(
        default=..., description="Where it is, such as sftp://files.example.org/relocation."
    )
    settings: SecretDict = Field(
        default=SecretDict({}), description="What fsspec needs to reach it, including the password."
    )

    @field_validator("basepath")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if not urlsplit(value).scheme:
            raise ValueError("must begin with a protocol, such as sftp://")
        if urlsplit(value).password is not None:
            raise ValueError("must not hold a password, which belongs into settings")
        return value

    def file_system(self) -> RemoteFileSystem:
        """Return it as Prefect's own block, which is never stored."""
        return RemoteFileSystem(basepath=self.basepath, settings=self.settings.get_secret_value())


def storage_on(block: Block) -> Storage:
    """Return the storage on a block; raises ConfigurationError for a type that cannot be one."""
    if isinstance(block, LocalFileSystem):
        return FolderStorage(Path(block.basepath or ".").expanduser())
    if isinstance(block, RemoteStorage):
        return RemoteFiles(block.file_system())
    if isinstance(block, RemoteFileSystem):
        return RemoteFiles(block)
    if isinstance(block, SMB):
        return RemoteFiles(block.filesystem)
    bucket = bucket_of(block)
    if bucket is None:
        raise ConfigurationError(
            "The relocation service is not fully set up.",
            internal=f"a block of the type {block.get_block_type_slug()} cannot be the storage; "
            "docs/operations.md says which can",
        )
    return BucketStorage(bucket)


def shown_secrets(block: Block | None) -> list[str]:
    """Return the settings of a block that look secret and that Prefect shows to whoever asks."""
    if not isinstance(block, RemoteFileSystem):
        return []
    shown = _LOOKS_SECRET.findall(json.dumps(block.settings, default=str))
    return ["basepath", *shown] if urlsplit(block.basepath).password is not None else shown


class RemoteFiles:
    """A remote file system of fsspec as a `Storage`."""

    def __init__(self, block: RemoteFileSystem) -> None:
        self._block: Any = block

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""

        def read(files: Any, path: str) -> BinaryIO:
            return cast(BinaryIO, files.open(path, "rb", block_size=PIECE))

        return self._remotely(read, key)

    def write(self, key: str, data: bytes) -> None:
        """Store under the key."""

        def put(files: Any, path: str) -> None:
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, data)

        self._remotely(put, key)

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start; it appears whole or not at all."""

        def upload(files: Any, path: str) -> None:
            file.seek(0)  # it may be the second time
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            part = f"{path}.part"  # closing a file keeps what was written, after an error too
            try:
                with files.open(part, "wb", block_size=PIECE) as stored:
                    shutil.copyfileobj(file, stored, PIECE)
            except BaseException:
                with suppress(Exception):  # what broke may be the connection
                    files.rm(part)
                raise
            if files.exists(path):
                files.rm(path)
            files.mv(part, path)

        self._remotely(upload, key)

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""

        def remove(files: Any, path: str) -> None:
            # Asked before: FTP has no error of its own for what is not there.
            if files.exists(path):
                files.rm(path)

        self._remotely(remove, key)

    def _remotely(self, act: Callable[[Any, str], R], key: str) -> R:
        """Act on the remote file system; over a new connection where the old one has broken.

        Not every kind of file system connects again by itself: FTP and SFTP do not, and their
        servers cut a connection that was idle for some minutes.
        """
        try:
            return self._act(act, key)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:  # noqa: BLE001 - each kind has errors of its own
            type(self._block.filesystem).clear_instance_cache()
            self._block._filesystem = None  # Prefect has no other way
            return self._act(act, key)

    def _act(self, act: Callable[[Any, str], R], key: str) -> R:
        files = self._block.filesystem
        files.invalidate_cache()  # others write there too
        return act(files, files._strip_protocol(f"{self._block.basepath.rstrip('/')}/{key}"))

"""Storages in a bucket, by the block types of Prefect's collections for S3, GCS and Azure.

No package of theirs is imported here: whoever has such a block has loaded what it needs.
"""

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, cast

from prefect.blocks.core import Block
from prefect.utilities.asyncutils import run_coro_as_sync

PIECE = 8 * 1024**2
"""Bytes that one request reads or writes of what is larger."""


class Bucket(Protocol):
    """What a kind of bucket is asked for; a key is the whole one, with the bucket's folder."""

    folder: str
    adds_folder_once: bool
    """A key that begins with the folder is taken as it is, as Prefect's own methods take it."""

    def size(self, key: str) -> int:
        """Return the size in bytes; raises FileNotFoundError."""

    def read(self, key: str, start: int, size: int) -> bytes:
        """Return the bytes from `start` on."""

    def upload(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds, in pieces; the key appears when all of it is there."""

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""


class BucketStorage:
    """A bucket as a `Storage`: streams in both directions, and keeps nothing on the disk."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def open(self, key: str) -> BinaryIO:
        """Open for reading, a piece a request; raises FileNotFoundError."""
        whole = self._whole(key)
        size = self._bucket.size(whole)
        pieces = _Pieces(self._bucket, whole, size)
        return cast(BinaryIO, io.BufferedReader(pieces, min(max(size, 1), PIECE)))

    def write(self, key: str, data: bytes) -> None:
        """Store under the key."""
        self._bucket.upload(self._whole(key), BytesIO(data))

    def write_file(self, key: str, file: BinaryIO) -> None:
        """Store what a file holds from its start."""
        file.seek(0)
        self._bucket.upload(self._whole(key), file)

    def delete(self, key: str) -> None:
        """Remove the key; idempotent."""
        self._bucket.delete(self._whole(key))

    def _whole(self, key: str) -> str:
        folder = self._bucket.folder.rstrip("/")
        if folder and self._bucket.adds_folder_once and key.startswith(f"{folder}/"):
            return key
        return str(PurePosixPath(folder, key))


class _Pieces(io.RawIOBase):
    """What a key holds, each read a request of its own."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._size)

    def _read(self, most: int) -> bytes:
        size = min(most, self._size - self._at)
        if size <= 0:
            return b""
        try:
            data = self._bucket.read(self._key, self._at, size)
        except Exception:  # noqa: BLE001 - a connection broke; each kind has errors of its own
            data = self._bucket.read(self._key, self._at, size)
        if len(data) != size:  # an end that is none would look like a damaged archive
            raise OSError(f"{self._key} gave {len(data)} of {size} bytes")
        self._at += size
        return data


class _S3:
    """An S3Bucket block of prefect-aws."""

    adds_folder_once = True

    def __init__(self, block: Any) -> None:
        self._client = block.credentials.get_s3_client()
        self._name = block.bucket_name
        self.folder = block.bucket_folder

    def size(self, key: str) -> int:
        try:
            head = self._client.head_object(Bucket=self._name, Key=key)
        except self._client.exceptions.ClientError as err:
            if err.response["ResponseMetadata"]["HTTPStatusCode"] == _NOT_FOUND:
                raise FileNotFoundError(key) from err
            raise
        return int(head["ContentLength"])

    def read(self, key: str, start: int, size: int) -> bytes:
        span = f"bytes={start}-{start + size - 1}"
        answer = self._client.get_object(Bucket=self._name, Key=key, Range=span)
        return cast(bytes, answer["Body"].read())

    def upload(self, key: str, file: BinaryIO) -> None:
        data = file.read(PIECE)
        if len(data) < PIECE:
            self._client.put_object(Bucket=self._name, Key=key, Body=data)
            return
        file.seek(0)
        self._client.upload_fileobj(Fileobj=file, Bucket=self._name, Key=key)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)


class _Gcs:
    """A GcsBucket block of prefect-gcp."""

    adds_folder_once = True

    def __init__(self, block: Any) -> None:
        # Not its get_bucket, which asks for the bucket itself and needs the right to see that.
        self._bucket = block.gcp_credentials.get_cloud_storage_client().bucket(block.bucket)
        self.folder = block.bucket_folder

    def size(self, key: str) -> int:
        blob = self._bucket.get_blob(key)
        if blob is None:
            raise FileNotFoundError(key)
        return int(blob.size)

    def read(self, key: str, start: int, size: int) -> bytes:
        blob = self._bucket.blob(key)
        return cast(bytes, blob.download_as_bytes(start=start, end=start + size - 1))

    def upload(self, key: str, file: BinaryIO) -> None:
        self._bucket.blob(key, chunk_size=PIECE).upload_from_file(file)

    def delete(self, key: str) -> None:
        self._bucket.delete_blobs([key], on_error=lambda _blob: None)  # it was not there


class _Azure:
    """An AzureBlobStorageContainer block of prefect-azure, whose clients are asynchronous."""

    adds_folder_once = False

    def __init__(self, block: Any) -> None:
        self._credentials, self._container = block.credentials, block.container_name
        self.folder = block.base_folder or ""

    def size(self, key: str) -> int:
        properties = self._ask(key, lambda blob: blob.get_blob_properties())
        return int(properties.size)

    def read(self, key: str, start: int, size: int) -> bytes:
        async def download(blob: Any) -> bytes:
            return cast(bytes, await (await blob.download_blob(start, size)).readall())

        return cast(bytes, self._ask(key, download))

    def upload(self, key: str, file: BinaryIO) -> None:
        self._ask(key, lambda blob: blob.upload_blob(file, overwrite=True))

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(key, lambda blob: blob.delete_blob(delete_snapshots="include"))

    def _ask(self, key: str, act: Callable[[Any], Any]) -> Any:
        async def ask() -> Any:
            async with self._credentials.get_blob_client(self._container, key) as blob:
                return await act(blob)

        try:
            return run_coro_as_sync(ask())
        except Exception as err:
            if getattr(err, "status_code", None) == _NOT_FOUND:
                raise FileNotFoundError(key) from err
            raise


_NOT_FOUND = 404
_KINDS: Mapping[str, Callable[[Any], Bucket]] = {
    "s3-bucket": _S3,
    "gcs-bucket": _Gcs,
    "azure-blob-storage-container": _Azure,
}


def bucket_of(block: Block) -> Bucket | None:
    """Return what a block of a known kind stands for, or None for another; asks nobody yet."""
    kind = _KINDS.get(block.get_block_type_slug())
    return kind(block) if kind else None

"""A storage in a bucket: what is read, written and removed there, and how much memory it takes."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.filesystems import RemoteFileSystem
from pydantic import SecretStr, ValidationError
from s3_server import PLAIN, VERSIONED, S3Server, s3_server

from relocation.archive.storage import Storage
from relocation.errors import ConfigurationError
from relocation.prefect_api.buckets import PIECE
from relocation.prefect_api.storage import RemoteStorage, shown_secrets, storage_on

SMALL, LARGE = 96 * 1024**2, 224 * 1024**2
"""Bytes of archives: the large one must pass in little more memory than the small one, by which
all buffers are in use."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as one:
        yield one


@pytest.fixture(params=[PLAIN, VERSIONED, "fsspec"])
def storage(request: pytest.FixtureRequest, server: S3Server) -> Storage:
    """A storage in a bucket: with versions, without, and through fsspec."""
    fsspec = request.param == "fsspec"
    return storage_on(server.remote() if fsspec else server.block(request.param))


def _read(storage: Storage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def test_what_is_written_is_read_replaced_and_removed(storage: Storage) -> None:
    storage.write("a/one", b"x" * 200_000)
    assert _read(storage, "a/one") == b"x" * 200_000
    storage.write("a/one", b"less")
    assert _read(storage, "a/one") == b"less"
    storage.delete("a/one")
    storage.delete("a/one")
    with pytest.raises(FileNotFoundError):
        storage.open("a/one")


def test_what_is_removed_leaves_nothing(server: S3Server, storage: Storage) -> None:
    storage.write("gone/one", b"1")
    storage.write_file("gone/two", io.BytesIO(b"2"))
    assert sorted(server.keys()) == ["kept/gone/one", "kept/gone/two"]
    for key in ("gone/one", "gone/two"):
        storage.delete(key)
    assert server.keys() == []


def test_a_large_file_is_read_from_any_place(storage: Storage) -> None:
    content = os.urandom(1000) * (2 * PIECE // 1000)
    file = io.BytesIO(content)
    file.seek(100)
    storage.write_file("large", file)
    with storage.open("large") as stored:
        assert stored.seek(0, io.SEEK_END) == len(content)
        stored.seek(-7, io.SEEK_END)
        assert stored.read() == content[-7:]
        assert stored.read(1) == b""
        stored.seek(PIECE - 3)
        assert stored.read(6) == content[PIECE - 3 : PIECE + 3]
        stored.seek(0)
        assert stored.read() == content
    storage.delete("large")


def test_what_is_empty_is_there_and_empty(storage: Storage) -> None:
    storage.write("empty", b"")
    assert _read(storage, "empty") == b""
    storage.delete("empty")


def test_what_another_machine_wrote_meanwhile_is_found(server: S3Server, storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.open("c/one")
    for bucket in (PLAIN, VERSIONED):
        server.client.put_object(Bucket=bucket, Key="kept/c/one", Body=b"1")
    assert _read(storage, "c/one") == b"1"
    for bucket in (PLAIN, VERSIONED):
        server.client.delete_object(Bucket=bucket, Key="kept/c/one")


def test_an_upload_that_breaks_leaves_nothing(server: S3Server, storage: Storage) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= PIECE:
                raise OSError("the disk is broken")
            return super().read(size)

    with pytest.raises(OSError, match="disk is broken"):
        storage.write_file("broken", Broken(bytes(2 * PIECE)))
    assert server.keys() == []


def test_a_file_is_left_open_by_its_upload(storage: Storage) -> None:
    file = io.BytesIO(b"small")
    storage.write_file("again", file)
    storage.write_file("again", file)
    assert _read(storage, "again") == b"small"
    storage.delete("again")


def test_a_block_that_cannot_hold_files_is_refused_by_its_type() -> None:
    with pytest.raises(ConfigurationError) as refused:
        storage_on(Secret(value=SecretStr("s3cr3t")))
    assert "secret cannot be the storage" in str(refused.value.internal)
    assert "s3cr3t" not in f"{refused.value!r} {refused.value.internal}"


def test_a_password_in_the_address_of_a_remote_storage_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not hold a password"):
        RemoteStorage(basepath="sftp://relocation:s3cr3t@files.example.org/kept")


THROUGH = """
import io, sys, tempfile
from pathlib import Path
from s3_server import S3Server
from relocation.archive.envelope import open_export, sealing
from relocation.archive.keys import create_private_key, public_key_of
from relocation.prefect_api.storage import storage_on

def pass_through(size):
    with tempfile.TemporaryFile() as archive:
        with sealing(public_key_of(key), archive) as sealed:
            while archive.tell() < size:
                sealed.write(piece)
        storage.write_file("large", archive)
    with storage.open("large") as archive:
        assert archive.seek(0, io.SEEK_END) >= size
        archive.seek(0)
        text = open_export(archive, key, accept_plain=False)
        assert sum(map(len, iter(lambda: text.read(1024**2), b""))) > size // 2
    storage.delete("large")
    # Not getrusage, which counts the process from which this one was forked.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)

server = S3Server(sys.argv[1])
storage = storage_on(server.remote() if sys.argv[2] == "fsspec" else server.block())
key, piece = create_private_key(2048), bytes(768 * 1024)
for size in sys.argv[3:]:
    pass_through(int(size))
"""


@pytest.mark.deep
@pytest.mark.parametrize("kind", [PLAIN, "fsspec"])
def test_a_large_archive_passes_in_little_memory(server: S3Server, kind: str) -> None:
    """Uploaded, downloaded twice, checked and decrypted, by a process that does nothing else."""
    parts = os.pathsep.join([str(Path(__file__).parent / "parts"), *sys.path])
    child = subprocess.run(
        [sys.executable, "-c", THROUGH, server.url, kind, str(SMALL), str(LARGE)],
        env=os.environ | {"PYTHONPATH": parts},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    after_small, after_large = map(int, child.stdout.split())
    assert after_large - after_small < (LARGE - SMALL) // 2
    assert server.keys() == []


def test_a_key_that_begins_with_the_folder_of_the_bucket_lies_where_prefect_puts_it(
    server: S3Server,
) -> None:
    """Prefect's own methods do not add the folder twice; older versions of ours used them."""
    bucket = server.block(PLAIN)
    bucket.bucket_folder = "archives"
    storage_on(bucket).write("archives/a.tar", b"1")
    assert server.client.get_object(Bucket=PLAIN, Key="archives/a.tar")["Body"].read() == b"1"
    storage_on(bucket).delete("archives/a.tar")


def test_a_password_that_prefect_shows_in_an_address_is_named() -> None:
    shown = RemoteFileSystem(basepath="ftp://u:hunter2@files.example.org/x")
    assert shown_secrets(shown) == ["basepath"]

"""A storage on another machine: an FTP server, which others write to, and which goes away."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.filesystems import RemoteFileSystem

from relocation.local.processes import free_port
from relocation.prefect_api.storage import RemoteFiles


class FileServer:
    """An FTP server on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns once it answers."""
        command = [sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(self.port)]
        command += ["-d", str(self.folder), "-w", "-u", "relocation", "-P", "secret"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the FTP server did not start")

    def stop(self) -> None:
        """Stop it; every connection breaks."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def storage(self) -> RemoteFiles:
        """Return the storage there."""
        access = {"host": "127.0.0.1", "port": self.port, "username": "relocation"}
        block = RemoteFileSystem(
            basepath=f"ftp://127.0.0.1:{self.port}/kept", settings=access | {"password": "secret"}
        )
        return RemoteFiles(block)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """An FTP server of this module's own."""
    one = FileServer(tmp_path_factory.mktemp("ftp"))
    one.start()
    yield one
    one.stop()


def _read(storage: RemoteFiles, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def test_what_is_written_is_read_replaced_and_removed(server: FileServer) -> None:
    storage = server.storage()
    storage.write("a/one", b"x" * 200_000)
    assert _read(storage, "a/one") == b"x" * 200_000
    storage.write("a/one", b"less")
    assert _read(server.storage(), "a/one") == b"less"
    storage.delete("a/one")
    storage.delete("a/one")
    with pytest.raises(FileNotFoundError):
        storage.open("a/one")


def test_what_another_machine_wrote_meanwhile_is_found(server: FileServer) -> None:
    storage = server.storage()
    storage.write("b/one", b"1")
    with pytest.raises(FileNotFoundError):
        storage.open("b/two")
    (server.folder / "kept" / "b" / "two").write_bytes(b"2")
    assert _read(storage, "b/two") == b"2"
    (server.folder / "kept" / "b" / "two").write_bytes(b"longer")
    assert _read(storage, "b/two") == b"longer"
    storage.delete("b/two")
    assert not (server.folder / "kept" / "b" / "two").exists()


def test_a_folder_that_another_machine_made_meanwhile_is_no_error(server: FileServer) -> None:
    storage = server.storage()
    with pytest.raises(FileNotFoundError):
        storage.open("new/folder/one")
    server.storage().write("new/folder/two", b"2")
    storage.write("new/folder/one", b"1")
    assert _read(storage, "new/folder/one") == b"1"


@pytest.mark.parametrize("first", ["open", "write", "delete"])
def test_a_connection_that_the_server_cut_is_opened_again(server: FileServer, first: str) -> None:
    """A relocation may not look into its storage for longer than a server lets it be idle."""
    storage = server.storage()
    storage.write("c/one", b"1")
    server.stop()
    try:
        with pytest.raises(OSError, match="refused"):
            storage.open("c/one")
    finally:
        server.start()
    if first == "write":
        storage.write("c/one", b"2")
        assert _read(storage, "c/one") == b"2"
    elif first == "delete":
        storage.delete("c/one")
        assert not (server.folder / "kept" / "c" / "one").exists()
    else:
        assert _read(storage, "c/one") == b"1"


def test_a_connection_cut_while_nobody_looked_costs_no_try(server: FileServer) -> None:
    storage = server.storage()
    storage.write("d/one", b"1")
    server.stop()
    server.start()
    assert _read(storage, "d/one") == b"1"

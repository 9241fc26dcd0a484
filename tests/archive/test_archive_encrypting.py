"""An archive is encrypted as it is written, and is what the reference makes."""

import io
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, BinaryIO

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from relocation.archive.envelope import open_export, sealing
from relocation.archive.fernet_stream import TokenWriter
from relocation.archive.tarball import MEMBERS

if TYPE_CHECKING:  # collections.abc has it from Python 3.12 on
    from typing_extensions import Buffer


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_a_token_written_in_pieces_is_one_of_fernet(pieces: list[bytes]) -> None:
    key, out = Fernet.generate_key(), io.BytesIO()
    token = TokenWriter(key, out)
    for piece in pieces:
        token.write(piece)
    token.close()
    assert Fernet(key).decrypt(out.getvalue()) == b"".join(pieces)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=8))
def test_an_archive_written_in_pieces_is_a_tar_of_three_files(
    private_pem: str, public_pem: str, pieces: list[bytes]
) -> None:
    out = io.BytesIO()
    with sealing(public_pem, out) as sealed:
        for piece in [b"[", *pieces]:
            sealed.write(piece)
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r:") as tar:
        assert tuple(tar.getnames()) == MEMBERS
    assert len(out.getvalue()) % tarfile.RECORDSIZE == 0
    out.seek(0)
    assert open_export(out, private_pem, accept_plain=False).read() == b"[" + b"".join(pieces)


def test_what_was_not_finished_is_no_archive(private_pem: str, public_pem: str) -> None:
    out = io.BytesIO()
    with pytest.raises(ZeroDivisionError), sealing(public_pem, out) as sealed:
        sealed.write(b"[]")
        raise ZeroDivisionError
    out.seek(0)
    with pytest.raises(Exception, match="archive"):
        open_export(out, private_pem, accept_plain=False)


def test_memory_does_not_grow_with_the_export(public_pem: str) -> None:
    class Counted(io.RawIOBase):
        """Forgets what it is given."""

        place = 0

        def write(self, data: "Buffer", /) -> int:
            written = len(bytes(data))
            self.place += written
            return written

        def tell(self) -> int:
            return self.place

        def seek(self, place: int, _whence: int = 0) -> int:
            self.place = place
            return place

    out: BinaryIO = Counted()  # type: ignore[assignment]
    tracemalloc.start()
    with sealing(public_pem, out) as sealed:
        for _ in range(256):
            sealed.write(bytes(256 * 1024))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert out.tell() > 64 * 1024**2
    assert peak < 8 * 1024**2

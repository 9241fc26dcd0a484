"""The outer shape of an archive: a plain tar of exactly three files (T-1, T-2)."""

import tarfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from relocation.archive.headers import DAMAGED, Header, read_headers
from relocation.errors import ArchiveError
from relocation.text import listed, one_line

TOKEN = "export.json"  # noqa: S105 - the name of a member
DATA_KEY = "data.key"
PUBLIC_KEY = "key.pub"
MEMBERS = (TOKEN, DATA_KEY, PUBLIC_KEY)

MAX_KEY_BYTES = 64 * 1024
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Member:
    """Where one of the files lies in the archive."""

    stream: BinaryIO
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Read the file from its start; raises PermanentError where the archive ends before it.

        One at a time may be read, since all share the archive's stream.
        """
        self.stream.seek(self.start)
        left = self.size
        while left:
            piece = self.stream.read(min(left, _PIECE))
            if not piece:
                raise ArchiveError(DAMAGED)
            left -= len(piece)
            yield piece

    def read(self) -> bytes:
        """Return the whole file."""
        return b"".join(self.pieces())


@contextmanager
def token_member(out: BinaryIO, others: Mapping[str, bytes]) -> Iterator[None]:
    """Make what is written to `out` the first file of an archive, and add the others (T-1).

    Its length is filled in afterwards: `out` must be seekable. The metadata is the same each time.
    """
    start = out.tell()
    out.write(bytes(tarfile.BLOCKSIZE))
    yield
    end = out.tell()
    size = end - start - tarfile.BLOCKSIZE
    out.write(bytes(-size % tarfile.BLOCKSIZE))
    for name in MEMBERS:
        if name != TOKEN:
            content = others[name]
            out.write(_header(name, len(content)) + content)
            out.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    out.write(bytes(2 * tarfile.BLOCKSIZE))
    out.write(bytes(-(out.tell() - start) % tarfile.RECORDSIZE))
    after = out.tell()
    out.seek(start)
    out.write(_header(TOKEN, size))
    out.seek(after)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    # Of both formats the one that takes the length in a single block.
    large = size >= 8**11
    return info.tobuf(tarfile.GNU_FORMAT if large else tarfile.USTAR_FORMAT)


def read_members(stream: BinaryIO) -> dict[str, Member]:
    """Return the three files by name; raises PermanentError.

    Folders are ignored; anything else but the three files is refused, whatever their order.
    """
    found: dict[str, Member] = {}
    for header in read_headers(stream):
        if header.is_folder:
            _check_name(header.name)
            continue
        _check(header, seen=found)
        found[header.name] = Member(stream, header.start, header.size)
    missing = [name for name in MEMBERS if name not in found]
    if missing:
        raise ArchiveError(
            f"The archive is missing {listed(missing)}. It must contain {listed(list(MEMBERS))}."
        )
    return found


def _check(member: Header, *, seen: Container[str]) -> None:
    _check_name(member.name)
    shown = one_line(member.name, limit=60)
    if not member.is_plain:
        raise ArchiveError(
            f'The archive contains "{shown}" as a link or special file. Only plain files are '
            "allowed."
        )
    if member.name not in MEMBERS:
        raise ArchiveError(
            f'The archive contains an unexpected file, "{shown}". It must contain only '
            f"{listed(list(MEMBERS))}."
        )
    if member.name in seen:
        raise ArchiveError(f'The archive contains "{shown}" more than once.')
    if member.name != TOKEN and member.size > MAX_KEY_BYTES:
        raise ArchiveError(f'"{shown}" in the archive is far too large for a key.')


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(
            f'The archive contains "{one_line(name, limit=60)}", a path that points outside it.'
        )

"""Walk the headers of a tar, whoever wrote it: in steps and memory that no tar can make grow.

`tarfile` follows long names and extended headers by calling itself, and reads them whole, however
long they say they are; `TarInfo.frombuf` reads one block and no more.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from relocation.errors import ArchiveError

MAX_HEADERS: Final = 100
MAX_EXTENSION_BYTES: Final = 64 * 1024

NO_TAR: Final = "The archive is not a tar file, or it is compressed."
DAMAGED: Final = "The archive is cut off or damaged. Upload it again."

_BLOCK: Final = 512
_MAX_SIZE: Final = 2**50
_EXTENDED = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE})
_IGNORED = frozenset({tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK})
_PLAIN = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})


@dataclass(frozen=True)
class Header:
    """What a tar says of one entry, and where its content begins."""

    name: str
    kind: bytes
    start: int
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether the entry is a folder."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_plain(self) -> bool:
        """Whether the entry is a file that lies in the tar as it is."""
        return self.kind in _PLAIN


def read_headers(stream: BinaryIO) -> Iterator[Header]:
    """Yield the header of each entry, from where the stream stands.

    An extended header gives its entry name and size; what else it says does not matter here. Raises
    ArchiveError for what is no tar, or makes no sense.
    """
    start = at = stream.tell()
    given: dict[str, bytes] = {}
    for _ in range(MAX_HEADERS):
        block = _read(stream, at)
        if not block.strip(b"\0"):  # the end, or that of the file
            return
        info = _parse(block, DAMAGED if at > start else NO_TAR)
        at += _BLOCK
        if info.type in _EXTENDED:
            given |= _records(_content(stream, at, info.size))
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            given["path"] = _content(stream, at, info.size).partition(b"\0")[0]
        elif info.type not in _IGNORED:
            header = _header(info, at, given)
            yield header
            given = {}
            at += _padded(header.size) if header.is_plain else 0
            continue
        at += _padded(info.size)
    raise ArchiveError(
        f"The archive contains more than {MAX_HEADERS} entries, which is far too many."
    )


def _read(stream: BinaryIO, at: int) -> bytes:
    """Return the block at a position; raises ArchiveError where the file ends before it."""
    stream.seek(max(at - 1, 0))
    before = stream.read(1) if at else b"\0"
    if not before:
        raise ArchiveError(DAMAGED)
    return stream.read(_BLOCK)


def _parse(block: bytes, fault: str) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, OverflowError) as err:
        raise ArchiveError(fault) from err
    if not 0 <= info.size <= _MAX_SIZE:  # after a negative one would come this one again
        raise ArchiveError(DAMAGED)
    return info


def _header(info: tarfile.TarInfo, start: int, given: dict[str, bytes]) -> Header:
    name = given["path"].decode("utf-8", "surrogateescape") if "path" in given else info.name
    size = given.get("size", b"%d" % info.size)
    if not size.isdigit() or int(size[:20]) > _MAX_SIZE:
        raise ArchiveError(DAMAGED)
    sparse = any(key.startswith("GNU.sparse.") for key in given)
    return Header(name, tarfile.GNUTYPE_SPARSE if sparse else info.type, start, int(size))


def _content(stream: BinaryIO, at: int, size: int) -> bytes:
    if size > MAX_EXTENSION_BYTES:
        raise ArchiveError(DAMAGED)
    stream.seek(at)
    return stream.read(size)


def _records(text: bytes) -> dict[str, bytes]:
    """Return what an extended header says: records of "LENGTH KEY=VALUE", each with a line end."""
    found = {}
    while text.strip(b"\0"):
        length, _, rest = text.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length[:10]) <= len(text):
            raise ArchiveError(DAMAGED)
        key, equals, value = rest[: int(length) - len(length) - 1].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ArchiveError(DAMAGED)
        found[key.decode("utf-8", "replace")] = value[:-1]
        text = text[int(length) :]
    return found


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK

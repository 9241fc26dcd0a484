"""No tar, however odd, costs more than its three files, or ends in anything but a reason."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable

import pytest

from relocation.archive.any_export import KeyNeededError, open_any_export
from relocation.archive.envelope import open_export
from relocation.archive.headers import MAX_HEADERS, read_headers
from relocation.errors import MAX_REASON, ArchiveError

Seal = Callable[[bytes], bytes]


def entry(
    name: str = "export.json", kind: bytes = tarfile.REGTYPE, content: bytes = b"", **more: object
) -> bytes:
    """Return one entry of a tar as it is written, without anything before it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(**records: str) -> bytes:
    return entry("pax", tarfile.XHDTYPE, b"".join(map(pax_record, records.items())))


def pax_record(pair: tuple[str, str]) -> bytes:
    text = f" {pair[0].replace('__', '.')}={pair[1]}\n".encode()
    length = next(n for n in range(len(text), len(text) + 9) if len(str(n)) + len(text) == n)
    return b"%d%b" % (length, text)


LONG_NAME = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"export.json\0")
HUGE = 2**31

HOSTILE = {
    "a link to itself": entry(kind=tarfile.SYMTYPE, linkname="export.json"),
    "a hard link to itself": entry(kind=tarfile.LNKTYPE, linkname="export.json"),
    "3,000 long names": LONG_NAME * 3000,
    "3,000 extended headers": pax(path="export.json") * 3000,
    "3,000 global headers": entry("g", tarfile.XGLTYPE, b"13 path=a/b\n") * 3000,
    "3,000 folders": entry("folder", tarfile.DIRTYPE) * 3000,
    "a long name of 2 GiB": entry("x", tarfile.GNUTYPE_LONGNAME, size=HUGE) + bytes(4096),
    "an extended header of 2 GiB": entry("x", tarfile.XHDTYPE, size=HUGE) + bytes(4096),
    "a global header of 2 GiB": entry("x", tarfile.XGLTYPE, size=HUGE) + bytes(4096),
    "a file of 2**80 bytes": entry(size=2**80),
    "a file of -512 bytes": entry(size=-512),
    "an extended size of 5,000 digits": pax(size="9" * 5000) + entry(),
    "an extended size that is none": pax(size="-7") + entry(),
    "a record that is longer than its header": entry("x", tarfile.XHDTYPE, b"999 a=b\n"),
    "a record without length": entry("x", tarfile.XHDTYPE, b"a=b\n"),
    "a record of no bytes": entry("x", tarfile.XHDTYPE, b"0 a=b\n"),
    "a record without an equals sign": entry("x", tarfile.XHDTYPE, b"5 ab\n"),
    "a record whose length is 5,000 digits": entry("x", tarfile.XHDTYPE, b"9" * 5000 + b" a=b\n"),
    "a sparse file": pax(GNU__sparse__major="1") + entry(content=b"1\n0\n1\n"),
    "a name that is not text": entry("x", tarfile.GNUTYPE_LONGNAME, b"\xff\xfe\0") + entry(),
    "numbers that are none": entry()[:100] + b"zzzzzzz\0" * 2 + entry()[116:],
    "a header alone": entry(content=b"x" * 600)[:512],
}


@pytest.mark.parametrize("tar", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tar_is_refused_with_a_reason(tar: bytes, private_pem: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError) as caught:
            open_export(io.BytesIO(tar), private_pem, accept_plain=True)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert 0 < len(caught.value.reason) <= MAX_REASON


@pytest.mark.parametrize("tar", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tar_is_refused_where_no_key_is_given(tar: bytes, private_pem: str) -> None:
    """As `scan` and `compare` open it."""
    with pytest.raises((ArchiveError, KeyNeededError)):
        open_any_export(io.BytesIO(tar), None, own_key=private_pem)


def test_the_time_of_encryption_is_read_of_an_archive(seal: Seal, private_pem: str) -> None:
    opened = open_any_export(io.BytesIO(seal(b"[]")), private_pem, own_key=private_pem)
    assert opened.encrypted
    assert opened.encrypted_at is not None
    assert opened.text.read() == b"[]"


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_read_as_the_standard_library_reads_them(style: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as tar:
        for name in ("a", "n" * 99, f"{'f' * 60}/{'n' * 60}", "export.json"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(name), 7.5 if style == tarfile.PAX_FORMAT else 7
            tar.addfile(info, io.BytesIO(name.encode()))
        tar.addfile(tarfile.TarInfo("last"))
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        expected = [(one.name, one.type, one.offset_data, one.size) for one in tar]
    out.seek(0)
    found = [(one.name, one.kind, one.start, one.size) for one in read_headers(out)]
    assert found == expected


def test_as_many_entries_as_are_allowed_are_read() -> None:
    tar = entry("folder", tarfile.DIRTYPE) * (MAX_HEADERS - 1) + bytes(1024)
    assert len(list(read_headers(io.BytesIO(tar)))) == MAX_HEADERS - 1


def test_an_extended_header_names_the_entry_after_it_alone() -> None:
    tar = pax(path="export.json") + entry("short") + entry("other")
    assert [one.name for one in read_headers(io.BytesIO(tar))] == ["export.json", "other"]

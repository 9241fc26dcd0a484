"""An archive opens with its key alone, and whatever is wrong with it has its own reason."""

import base64
import io
import tarfile
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relocation.archive.envelope import open_export, seal_export
from relocation.archive.keys import create_private_key, load_public_key
from relocation.errors import MAX_REASON, ConfigurationError, PermanentError

Seal = Callable[[bytes], bytes]
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
SHARED_FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def tar_of(*entries: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            tar.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refusal(archive: bytes, private_pem: str, *, accept_plain: bool = False) -> str:
    """Return the reason for which an archive is refused."""
    with pytest.raises(PermanentError) as caught:
        open_export(io.BytesIO(archive), private_pem, accept_plain=accept_plain)
    assert not isinstance(caught.value, ConfigurationError)
    assert 0 < len(caught.value.reason) <= MAX_REASON
    return caught.value.reason


@SHARED_FIXTURES
@given(plaintext=st.binary(max_size=5000))
def test_what_was_sealed_is_what_is_opened(plaintext: bytes, seal: Seal, private_pem: str) -> None:
    """A-37, T-1 to T-4."""
    opened = open_export(io.BytesIO(seal(plaintext)), private_pem, accept_plain=False)
    assert opened.read() == plaintext


def test_a_stream_is_sealed_like_its_bytes(public_pem: str, private_pem: str) -> None:
    out = io.BytesIO()
    seal_export(io.BytesIO(b"[1]"), public_pem, out)
    out.seek(0)
    assert open_export(out, private_pem, accept_plain=False).read() == b"[1]"


def test_an_archive_is_a_plain_tar_of_three_files_in_order(seal: Seal) -> None:
    """T-1, T-3: the token is ASCII, and no metadata tells where or when the tar was made."""
    with tarfile.open(fileobj=io.BytesIO(seal(b"[]")), mode="r:") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == ["export.json", "data.key", "key.pub"]
    assert all(info.isreg() and not info.pax_headers for info in infos)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {
        (0, 0, 0, "", "")
    }
    assert members(seal(b"[]"))["export.json"].isascii()


def test_the_data_key_is_the_base64_text_of_a_fresh_key(seal: Seal, private_pem: str) -> None:
    """T-3, T-4: another implementation can open it."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(private_pem.encode(), password=None)
    first, second = (
        key.decrypt(members(seal(b"[7]"))["data.key"], OAEP)  # type: ignore[union-attr]
        for _ in range(2)
    )
    assert len(first) == 44
    assert len(base64.urlsafe_b64decode(first)) == 32
    assert first != second


def test_the_members_may_come_in_any_order_and_beside_folders(seal: Seal, private_pem: str) -> None:
    """T-2: members are looked up by name; folders are ignored."""
    parts = list(members(seal(b"[7]")).items())
    archive = tar_of(special("folder", tarfile.DIRTYPE), *reversed(parts))
    assert open_export(io.BytesIO(archive), private_pem, accept_plain=False).read() == b"[7]"


def test_a_key_file_with_other_white_space_is_written_as_readers_compare_it(
    public_pem: str, private_pem: str
) -> None:
    """T-6: the comparison is byte for byte, so the writer must not keep the file's line ends."""
    out = io.BytesIO()
    seal_export(b"[1]", public_pem.replace("\n", "\r\n"), out)
    out.seek(0)
    assert open_export(out, private_pem, accept_plain=False).read() == b"[1]"


def test_another_key_is_refused_before_the_data_key_is_looked_at(seal: Seal) -> None:
    """A-37, T-6: the data key is nonsense here, and is not what is complained of."""
    parts = members(seal(b"[1]")) | {"data.key": b"nonsense"}
    assert "a different key" in refusal(tar_of(*parts.items()), create_private_key(2048))


def test_a_key_file_that_differs_by_one_byte_is_refused(seal: Seal, private_pem: str) -> None:
    """T-6."""
    parts = members(seal(b"[1]"))
    parts["key.pub"] += b"\n"
    assert "a different key" in refusal(tar_of(*parts.items()), private_pem)


@pytest.mark.parametrize("data_key", [b"", b"nonsense", bytes(256)])
def test_a_data_key_that_does_not_decrypt_is_refused(
    data_key: bytes, seal: Seal, private_pem: str
) -> None:
    parts = members(seal(b"[1]")) | {"data.key": data_key}
    assert "data key" in refusal(tar_of(*parts.items()), private_pem)


def test_a_data_key_that_is_no_fernet_key_is_refused(
    seal: Seal, public_pem: str, private_pem: str
) -> None:
    parts = members(seal(b"[1]"))
    parts["data.key"] = load_public_key(public_pem).encrypt(b"short", OAEP)
    assert "data key" in refusal(tar_of(*parts.items()), private_pem)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda token: token[:-5] + b"AAAA=",
        lambda token: token[: len(token) // 2],
        lambda _: b"",
        lambda _: b"\xff" * 40,
        lambda _: Fernet(Fernet.generate_key()).encrypt(b"[]"),
    ],
    ids=["changed at the end", "cut", "empty", "not base64", "of another key"],
)
def test_a_changed_token_is_refused(
    tamper: Callable[[bytes], bytes], seal: Seal, private_pem: str
) -> None:
    parts = members(seal(b'[{"a": 1}]'))
    parts["export.json"] = tamper(parts["export.json"])
    assert "damaged or changed" in refusal(tar_of(*parts.items()), private_pem)


@pytest.mark.parametrize("name", ["export.json", "data.key", "key.pub"])
def test_a_missing_member_is_named(name: str, seal: Seal, private_pem: str) -> None:
    """T-2."""
    parts = members(seal(b"[1]"))
    del parts[name]
    assert f"missing {name}." in refusal(tar_of(*parts.items()), private_pem)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("notes.txt", b"x"), 'an unexpected file, "notes.txt"'),
        (("./export.json", b"x"), "unexpected file"),  # names are compared as they are
        (("/etc/passwd", b"x"), "a path that points outside"),
        (("../key.pub", b"x"), "a path that points outside"),
        (special("a/../../b", tarfile.DIRTYPE), "a path that points outside"),
        (special("export.json", tarfile.SYMTYPE, "/etc/passwd"), "link or special file"),
        (special("other", tarfile.LNKTYPE, "key.pub"), "link or special file"),
        (special("disk", tarfile.BLKTYPE), "link or special file"),
        (special("pipe", tarfile.FIFOTYPE), "link or special file"),
        (special("odd", b"Z"), "link or special file"),  # a kind that tar does not know
        (("key.pub", b"x"), "more than once"),
        (("x" * 90 + "\n\u202eevil", b"x"), "unexpected file"),
    ],
)
def test_a_member_that_does_not_belong_is_refused(
    entry: tuple[str, bytes] | tarfile.TarInfo, says: str, seal: Seal, private_pem: str
) -> None:
    """T-2."""
    reason = refusal(tar_of(*members(seal(b"[1]")).items(), entry), private_pem)
    assert says in reason
    assert "\u202e" not in reason


def test_a_key_of_more_than_64_kib_is_refused(seal: Seal, private_pem: str) -> None:
    parts = members(seal(b"[1]")) | {"data.key": b"k" * (64 * 1024 + 1)}
    assert "too large for a key" in refusal(tar_of(*parts.items()), private_pem)


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"", "file is empty"),
        (b"hello", "not a tar file"),
        (b"\x1f\x8b" + bytes(600), "not a tar file"),  # compressed
        (bytes(10240), "missing export.json, data.key, key.pub."),  # a tar without members
        (b'{"model": 1}', "not a tar file"),
        (b"\xef\xbb\xbf[]", "text in UTF-8 with a byte order mark, not a tar file"),
        ("[1]".encode("utf-16"), "text in UTF-16, not a tar file"),
    ],
)
def test_what_is_no_tar_is_refused(archive: bytes, says: str, private_pem: str) -> None:
    assert says in refusal(archive, private_pem, accept_plain=True)


def test_an_archive_cut_off_anywhere_is_refused(seal: Seal, private_pem: str) -> None:
    archive = seal(b"[" + b"1," * 2000 + b"1]")
    end = archive.rindex(b"-----END PUBLIC KEY-----")
    for length in range(1, end, 509):
        assert refusal(archive[:length], private_pem)
    assert "cut off or damaged" in refusal(archive[:2000], private_pem)


def test_a_header_with_a_negative_size_does_not_loop(seal: Seal, private_pem: str) -> None:
    parts = members(seal(b"[1]"))
    archive = bytearray(tar_of(*parts.items()))
    second = 512 + (len(parts["export.json"]) + 511) // 512 * 512
    archive[second + 124 : second + 136] = (-1024).to_bytes(12, "big", signed=True)
    header = archive[second : second + 148] + b" " * 8 + archive[second + 156 : second + 512]
    archive[second + 148 : second + 156] = b"%06o\0 " % sum(header)
    assert "cut off or damaged" in refusal(bytes(archive), private_pem)


@SHARED_FIXTURES
@given(data=st.data())
def test_an_archive_with_any_changed_bytes_opens_unchanged_or_is_refused(
    data: st.DataObject, seal: Seal, private_pem: str
) -> None:
    archive = bytearray(seal(b'[{"a": 1}]'))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 4095))
        archive[at] = data.draw(st.integers(0, 255))
    try:
        opened = open_export(io.BytesIO(bytes(archive)), private_pem, accept_plain=False)
    except PermanentError:
        return
    assert opened.read() == b'[{"a": 1}]'


def test_a_plain_export_is_taken_where_that_is_allowed(private_pem: str) -> None:
    plain = io.BytesIO(b'\n [{"a": 1}]')
    assert open_export(plain, private_pem, accept_plain=True).read() == b'\n [{"a": 1}]'


def test_a_plain_export_is_refused_where_it_is_not_allowed(private_pem: str) -> None:
    assert "unencrypted export" in refusal(b" [1]", private_pem)


def test_a_key_too_small_for_the_data_key_is_a_configuration_error() -> None:
    """T-4: OAEP with SHA-256 over 44 bytes needs 880 bits."""
    tiny = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""
    out = io.BytesIO()
    with pytest.raises(ConfigurationError):
        seal_export(b"[]", tiny, out)
    assert not out.getvalue()

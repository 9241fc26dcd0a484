"""A token is read as a stream, and is taken or refused just as `Fernet` does."""

import base64
import io
import tracemalloc
from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from relocation.archive.fernet_stream import TokenKey
from relocation.errors import PermanentError

QUICK = settings(deadline=None, max_examples=150)
KEY = base64.urlsafe_b64encode(bytes(range(32)))
SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 16, 63, 64, 65, 1000])
TEXTS = st.binary(max_size=200)


def cut(token: bytes, size: int) -> Iterator[bytes]:
    return (token[at : at + size] for at in range(0, len(token), size))


def opened(token: bytes, size: int = 64, key: bytes = KEY) -> bytes | None:
    """Return what a token holds, None where it is refused."""
    try:
        return TokenKey(key).open(lambda: cut(token, size)).read()
    except PermanentError as err:
        assert "damaged or changed" in err.reason
        return None


def by_fernet(token: bytes, key: bytes = KEY) -> bytes | None:
    try:
        return Fernet(key).decrypt(token)
    except InvalidToken:
        return None


def signed(data: bytes) -> bytes:
    """Return a token of these bytes with a signature that fits."""
    hmac = HMAC(bytes(range(16)), SHA256())
    hmac.update(data)
    return base64.urlsafe_b64encode(data + hmac.finalize())


@QUICK
@given(TEXTS, st.binary(min_size=32, max_size=32), SIZES)
def test_what_fernet_encrypts_is_read_however_it_comes(
    text: bytes, secret: bytes, size: int
) -> None:
    """A-37, W-50."""
    key = base64.urlsafe_b64encode(secret)
    token = Fernet(key).encrypt(text)
    assert opened(token, size, key) == by_fernet(token, key) == text


@QUICK
@given(TEXTS, st.data(), SIZES)
def test_a_token_with_a_changed_byte_is_taken_where_fernet_takes_it(
    text: bytes, data: st.DataObject, size: int
) -> None:
    token = bytearray(Fernet(KEY).encrypt(text))
    at = data.draw(st.integers(0, len(token) - 1))
    token[at] = data.draw(st.integers(0, 255))
    assert opened(bytes(token), size) == by_fernet(bytes(token))


@QUICK
@given(TEXTS, st.data(), SIZES)
def test_a_cut_token_is_taken_where_fernet_takes_it(
    text: bytes, data: st.DataObject, size: int
) -> None:
    token = Fernet(KEY).encrypt(text)
    token = token[: data.draw(st.integers(0, len(token)))]
    assert opened(token, size) == by_fernet(token)


@QUICK
@given(TEXTS, st.data(), SIZES)
def test_odd_base64_is_read_where_fernet_reads_it(
    text: bytes, data: st.DataObject, size: int
) -> None:
    """Padding in the middle, line ends, the other alphabet, characters of none."""
    token = Fernet(KEY).encrypt(text)
    odd = st.sampled_from([b"=", b"==", b"====", b"\n", b"\0", b"A", b"A=", b" ", b"+", b"\xff"])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(token)) | st.just(len(token)))
        token = token[:at] + data.draw(odd) + token[at:]
    if data.draw(st.booleans()):
        token = token.translate(bytes.maketrans(b"-_", b"+/"))
    assert opened(token, size) == by_fernet(token)


@QUICK
@given(st.binary(max_size=90), SIZES)
def test_anything_that_is_well_signed_is_taken_where_fernet_takes_it(
    data: bytes, size: int
) -> None:
    """Any version, any length, any padding below the signature."""
    for body in (data, b"\x80" + data):
        assert opened(signed(body), size) == by_fernet(signed(body))


@pytest.mark.parametrize("last", [0, 1, 2, 15, 16, 17, 255])
def test_padding_is_checked_as_fernet_checks_it(last: int) -> None:
    encryptor = Cipher(algorithms.AES(bytes(range(16, 32))), modes.CBC(bytes(16))).encryptor()
    block = encryptor.update(bytes(14) + bytes([last, last]))
    token = signed(b"\x80" + bytes(8) + bytes(16) + block)
    assert opened(token) == by_fernet(token)


def test_another_key_is_refused() -> None:
    token = Fernet(KEY).encrypt(b"text")
    assert opened(token, key=Fernet.generate_key()) is None


@pytest.mark.parametrize("key", [b"", b"short", KEY[:-4], b"A" + KEY, b"\xff" * 44])
def test_what_is_no_key_to_fernet_is_none_here(key: bytes) -> None:
    with pytest.raises(ValueError):
        Fernet(key)
    with pytest.raises(ValueError):
        TokenKey(key)


def test_nothing_is_handed_out_before_the_end_was_checked() -> None:
    token = bytearray(Fernet(KEY).encrypt(bytes(500_000)))
    token[-10] ^= 1
    with pytest.raises(PermanentError):
        TokenKey(KEY).open(lambda: cut(bytes(token), 1000))


def test_a_token_that_is_another_when_it_is_read_again_is_refused() -> None:
    tokens = [Fernet(KEY).encrypt(b"a" * 100), Fernet(Fernet.generate_key()).encrypt(b"b" * 100)]
    versions = iter(tokens)
    stream = TokenKey(KEY).open(lambda: cut(next(versions), 64))
    with pytest.raises(PermanentError, match="damaged or changed"):
        stream.read()


def test_a_large_token_is_read_in_little_memory() -> None:
    """W-50."""
    token = Fernet(KEY).encrypt(bytes(8_000_000))
    tracemalloc.start()
    try:
        stream = TokenKey(KEY).open(lambda: cut(token, 65536))
        assert sum(len(piece) for piece in iter(lambda: stream.read(16384), b"")) == 8_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_stream_of_a_token_ends_like_any_other() -> None:
    stream = TokenKey(KEY).open(lambda: cut(Fernet(KEY).encrypt(b"text"), 64))
    assert isinstance(stream, io.BufferedIOBase)
    assert (stream.read(2), stream.read(9), stream.read(9)) == (b"te", b"xt", b"")

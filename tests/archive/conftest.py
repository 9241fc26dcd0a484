"""Keys and archives for the tests of this folder."""

import io
from collections.abc import Callable

import pytest

from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of


@pytest.fixture(scope="session")
def private_pem() -> str:
    """A private key, small to be quick."""
    return create_private_key(2048)


@pytest.fixture(scope="session")
def public_pem(private_pem: str) -> str:
    """The public half of it."""
    return public_key_of(private_pem)


@pytest.fixture(scope="session")
def seal(public_pem: str) -> Callable[[bytes], bytes]:
    """Make an archive of a JSON text."""

    def make(plaintext: bytes) -> bytes:
        out = io.BytesIO()
        seal_export(plaintext, public_pem, out)
        return out.getvalue()

    return make

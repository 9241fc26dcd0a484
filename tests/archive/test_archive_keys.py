"""Keys are PEM text, and a bad one is an operator's business."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relocation.archive.keys import create_private_key, load_public_key, public_key_of
from relocation.errors import ConfigurationError


def test_a_key_is_pkcs8_and_its_public_half_is_subject_public_key_info(private_pem: str) -> None:
    """T-1."""
    assert private_pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert public_key_of(private_pem).startswith("-----BEGIN PUBLIC KEY-----\n")


def test_a_key_has_the_asked_size() -> None:
    """T-4: the owner of the key chooses its size."""
    assert load_public_key(public_key_of(create_private_key(3072))).key_size == 3072


def test_each_key_is_another(private_pem: str) -> None:
    assert create_private_key(2048) != private_pem


def _elliptic() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "not a key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "clé",  # not ASCII
        "\ud800",
        _elliptic(),  # no RSA key
    ],
)
def test_a_bad_private_key_is_a_configuration_error_that_does_not_show_it(pem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        public_key_of(pem)
    assert "operator" in caught.value.reason
    assert not pem or pem not in str(caught.value)


def test_a_private_key_is_no_public_key(private_pem: str) -> None:
    with pytest.raises(ConfigurationError):
        load_public_key(private_pem)

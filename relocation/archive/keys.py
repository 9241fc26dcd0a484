"""The RSA keys that archives are encrypted to, as PEM text."""

import base64
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256

from relocation.errors import ConfigurationError

KEY_PADDING = OAEP(mgf=MGF1(algorithm=SHA256()), algorithm=SHA256(), label=None)
"""How a data key is encrypted for one of these keys (T-4)."""

_ODD_KEY = "The key that opens archives is not set up correctly. An operator must fix it."


def create_private_key(bits: int = 4096) -> str:
    """Create an RSA key and return it as PKCS8 PEM, unencrypted."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")


def public_key_of(private_pem: str) -> str:
    """Return the public half as PEM (SubjectPublicKeyInfo); raises ConfigurationError."""
    return public_pem_of(load_private_key(private_pem).public_key()).decode("ascii")


def public_pem_of(key: rsa.RSAPublicKey) -> bytes:
    """Return the key as an archive's `key.pub` holds it (T-1)."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint_of(public_pem: str) -> str:
    """Return a short name of a public key, to compare by eye; raises ConfigurationError."""
    der = load_public_key(public_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "SHA256:" + base64.b64encode(sha256(der).digest()).decode("ascii").rstrip("=")


@lru_cache(maxsize=2)
def load_private_key(pem: str) -> rsa.RSAPrivateKey:
    """Read an unencrypted RSA private key; raises ConfigurationError.

    To check a key takes half a second, and a relocation needs it several times: kept in memory.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise ConfigurationError(
            _ODD_KEY, internal="not an unencrypted private key in PEM form"
        ) from err
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError(_ODD_KEY, internal="the private key is not an RSA key")
    return key


def load_public_key(pem: str) -> rsa.RSAPublicKey:
    """Read an RSA public key; raises ConfigurationError."""
    try:
        key = serialization.load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ConfigurationError(_ODD_KEY, internal="not a public key in PEM form") from err
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigurationError(_ODD_KEY, internal="the public key is not an RSA key")
    return key

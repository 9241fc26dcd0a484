"""Sign the finished bytes of a notice with DKIM."""

import re
from dataclasses import dataclass, field

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relocation.errors import ConfigurationError

MIN_BITS = 1024

_DNS_NAME = re.compile(r"([a-z0-9_-]+\.)+[a-z0-9-]+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class SigningKey:
    """A domain's RSA key, whose public half is in the DNS under `selector`.

    Raises ConfigurationError for what cannot sign, so that no notice fails for it later.
    """

    selector: str
    domain: str
    pem: str = field(repr=False)

    def __post_init__(self) -> None:
        """Bring the key into the one form that the library reads."""
        try:
            key = serialization.load_pem_private_key(self.pem.encode(), password=None)
        except (TypeError, ValueError) as err:
            raise _unusable(str(err)) from err
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_BITS:
            raise _unusable(f"it is no RSA key of at least {MIN_BITS} bits")
        if not _DNS_NAME.fullmatch(f"{self.selector}._domainkey.{self.domain}"):
            raise _unusable("selector and domain make no name of the DNS")
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        object.__setattr__(self, "pem", plain.decode())

    def signed(self, wire: bytes) -> bytes:
        """Return the message with its signature before it."""
        signature: bytes = dkim.sign(
            wire,
            self.selector.encode(),
            self.domain.encode(),
            self.pem.encode(),
            canonicalize=(b"relaxed", b"relaxed"),
        )
        return signature + wire


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        "The signing of notices is not set up correctly.",
        internal=f"the DKIM key of the mail server block cannot be used: {why}",
    )

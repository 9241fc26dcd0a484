"""Turn a message into the exact bytes that go over the wire."""

import contextlib
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy

import email_validator

_VERBATIM = {"message-id", "in-reply-to", "references", "list-id"}
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,120}@[!-;=?A-~]{1,120}>")

# Networks of an organization's own deliver to these; the library's list is meant to be changed.
for _name in ("local", "localhost", "test"):
    with contextlib.suppress(ValueError):
        email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_name)


class WirePolicy(EmailPolicy):
    """Write CRLF and 7 bit, and fold no header that holds an identifier.

    The standard library turns long identifiers into encoded words, which receivers then ignore.
    """

    def fold(self, name: str, value: str) -> str:
        """Return the header as text, with its line end."""
        if name.lower() in _VERBATIM:
            return f"{name}: {value}{self.linesep}"
        folded: str = super().fold(name, value)
        return folded

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return the header as bytes, with its line end."""
        if name.lower() in _VERBATIM:
            return self.fold(name, value).encode("ascii")
        return super().fold_binary(name, value)


WIRE = WirePolicy(linesep="\r\n", cte_type="7bit", raise_on_defect=True)


def wire_bytes(message: EmailMessage) -> bytes:
    """Return the message as ASCII with CRLF line ends; the same message gives the same bytes."""
    return message.as_bytes(policy=WIRE)


def mail_address(address: str, name: str = "") -> Address:
    """Return an address with a name for a header; raises ValueError as `bare_address` does."""
    return Address(display_name=name, addr_spec=bare_address(address))


def bare_address(address: str) -> str:
    """Return a checked address, its domain in ASCII; raises ValueError on anything else (W-45).

    Looks nothing up. A local part beyond ASCII is refused: few servers take one.
    """
    checked = email_validator.validate_email(
        address,
        allow_smtputf8=False,
        check_deliverability=False,
        globally_deliverable=False,  # a host of the local network has no dot
    )
    if checked.ascii_email is None:
        raise ValueError("the address has no ASCII form")
    return checked.ascii_email


def identifier(message_id: str) -> str:
    """Return the id of a message if it is well formed; raises ValueError otherwise."""
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError("a message id must look like <id@domain>")
    return message_id

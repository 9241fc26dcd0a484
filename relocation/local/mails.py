"""The mails that lie in a folder as files."""

import email
import email.policy
import re
from email.message import EmailMessage
from pathlib import Path


def kept_mails(folder: Path) -> list[Path]:
    """Return the mails in order of number; names that are not ours are left alone."""
    found = [path for path in folder.glob("*.eml") if re.match(r"\d+-", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def parsed(raw: bytes) -> EmailMessage:
    """Return a mail as an object."""
    return email.message_from_bytes(raw, policy=email.policy.default)


def part_of(message: EmailMessage, subtype: str) -> str:
    """Return the text of the "plain" or the "html" part; empty where there is none."""
    part = message.get_body((subtype,))
    return str(part.get_content()).replace("\r\n", "\n") if part else ""

"""Check an archive before it is uploaded: what a relocation would refuse, said at once."""

from collections.abc import Collection
from typing import BinaryIO

from relocation.archive.envelope import open_export
from relocation.archive.records import read_records
from relocation.errors import MissingOrganizationError
from relocation.text import listed

_ORGANIZATION = "sentry.organization"


def check_archive(
    archive: BinaryIO, private_pem: str, wanted: Collection[str], *, accept_plain: bool
) -> None:
    """Refuse what is no archive for this key, or lacks organizations that are wanted.

    Reads no further than to the last of them. Raises PermanentError as `open_export` does, and
    MissingOrganizationError.
    """
    missing, held = set(wanted), set()
    for record in read_records(open_export(archive, private_pem, accept_plain=accept_plain)):
        if record.model == _ORGANIZATION:
            slug = str(record.fields.get("slug") or "")
            held.add(slug)
            missing.discard(slug)
            if not missing:
                return
    raise MissingOrganizationError(
        f"The archive does not hold {listed(sorted(missing), show=5)}. It holds "
        f"{listed(sorted(held), show=10) or 'no organizations'}."
    )

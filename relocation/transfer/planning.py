"""What a file would meet in a destination: the proposal for a plan."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import Engine

from relocation.archive.any_export import open_any_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import read_records
from relocation.archive.storage import FolderStorage
from relocation.transfer.load.accounts import propose
from relocation.transfer.prepare.key_table import natural_key
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import scan_export

_KEY_BITS: Final = 2048
_NO_LIMIT: Final = 2**63
_FORM: Final = "export"


def proposal(
    destination: Engine, path: Path, wanted: Sequence[str] | None, *, private_pem: str
) -> list[dict[str, Any]]:
    """Return the rows of a plan for moving the wanted organizations; see `propose`.

    Raises PermanentError where the file would be refused.
    """
    own_key = create_private_key(_KEY_BITS)
    with TemporaryDirectory(prefix="relocation-") as folder:
        storage = FolderStorage(Path(folder))
        with path.open("rb") as file:
            export = open_any_export(file, private_pem, own_key=own_key)
            report = scan_export(
                read_records(export.text),
                wanted=wanted,
                max_organizations=_NO_LIMIT,
                max_users=_NO_LIMIT,
                storage=storage,
                prefix=_FORM,
                public_pem=public_key_of(own_key),
            )
        form = open_normalised(storage, _FORM, own_key)
        names: dict[int, str] = {}
        addresses: dict[str, set[str]] = {}
        for user in form.records("sentry.user"):
            names[user.pk] = str(user.fields.get("username"))
            addresses[names[user.pk]] = {str(user.fields.get("email") or "")} - {""}
        for row in form.records("sentry.useremail"):
            user_key = row.fields.get("user")
            name = names.get(user_key) if type(user_key) is int else natural_key(user_key)
            if name in addresses and row.fields.get("email"):
                addresses[name].add(str(row.fields["email"]))
    return list(propose(destination, addresses, [one.slug for one in report.organizations]))

"""Import a file as the reference's own command does: in any scope, at once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import Engine

from relocation.archive.any_export import open_any_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record, read_records
from relocation.archive.storage import FolderStorage, Storage
from relocation.catalogue import Scope, load_catalogue
from relocation.settings import Settings
from relocation.transfer.load.chunks import ImportReport, bind
from relocation.transfer.load.importing import import_records
from relocation.transfer.load.ownership import reveal_organizations
from relocation.transfer.prepare.key_table import USER, natural_key
from relocation.transfer.prepare.normalised import NormalisedWriter, open_normalised
from relocation.transfer.prepare.scan import scan_export

_FENCE: Final = 1
"""Such an import has no process that takes it over but itself, begun again."""
_KEY_BITS: Final = 2048
_FORM: Final = "export"
_NO_LIMIT: Final = 2**63


@dataclass(frozen=True)
class FileImport:
    """What of a file is imported, and how."""

    id: str
    """Under which the destination remembers what was imported."""
    scope: Scope
    organizations: list[str] | None = None
    """Slugs, in the scope Organization; None is all of the file."""
    merge_users: bool = False
    overwrite_configs: bool = False


def import_file(
    destination: Engine,
    path: Path,
    what: FileImport,
    *,
    private_pem: str | None,
    settings: Settings,
    progress: Callable[[str, int], None],
) -> ImportReport:
    """Import what a file holds; called again with the same id, go on where it was interrupted.

    Organizations become visible when all is there. Working files are encrypted for a key that is
    never written. Raises PermanentError, KeyNeededError, OSError where there is no room to work.
    """
    own_key = create_private_key(_KEY_BITS)
    with TemporaryDirectory(prefix="relocation-") as folder:
        storage = FolderStorage(Path(folder))
        with path.open("rb") as file:
            export = open_any_export(file, private_pem, own_key=own_key)
            _normalise(read_records(export.text), what, storage, own_key)
        bind(destination, what.id, _FENCE)
        report = import_records(
            destination,
            open_normalised(storage, _FORM, own_key),
            relocation_id=what.id,
            fence=_FENCE,
            scope=what.scope,
            merge_users=what.merge_users,
            overwrite_configs=what.overwrite_configs,
            chunk_records=settings.chunk_records,
            progress=progress,
        )
    if what.scope in {Scope.ORGANIZATION, Scope.GLOBAL}:
        reveal_organizations(destination, what.id, _FENCE)
    return report


def _normalise(records: Iterable[Record], what: FileImport, storage: Storage, own_key: str) -> None:
    public_pem = public_key_of(own_key)
    if what.scope is Scope.ORGANIZATION:
        scan_export(
            records,
            wanted=what.organizations,
            max_organizations=_NO_LIMIT,
            max_users=_NO_LIMIT,
            storage=storage,
            prefix=_FORM,
            public_pem=public_pem,
        )
        return
    writer = NormalisedWriter(storage, _FORM, public_pem)
    people = _People()
    for record in people.watch(records):
        if record.model in load_catalogue():
            writer.add(record)
    writer.close(None, people.named)


class _People:
    """Takes note of who is referred to by name, as in very old files (T-13)."""

    def __init__(self) -> None:
        self._pks: dict[str, int] = {}
        self._names: set[str] = set()

    @property
    def named(self) -> dict[str, int]:
        """The primary key of each username that stands for a reference."""
        return {name: pk for name, pk in self._pks.items() if name in self._names}

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on."""
        catalogue = load_catalogue()
        for record in records:
            model = catalogue.get(record.model)
            if record.model == USER:
                self._pks.setdefault(str(record.fields.get("username")), record.pk)
            for field, key in model.foreign_keys.items() if model else ():
                if key.to == USER and (name := natural_key(record.fields.get(field))):
                    self._names.add(name)
            yield record

"""Compare two files, encrypted or plain, by the rules for exports (spec 5)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from relocation.archive.any_export import open_any_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record, read_records
from relocation.archive.storage import FolderStorage, Storage
from relocation.catalogue import load_catalogue
from relocation.errors import PermanentError
from relocation.findings import Finding, FindingKind
from relocation.text import one_line
from relocation.transfer.compare.comparing import compare
from relocation.transfer.prepare.key_table import USER, natural_key
from relocation.transfer.prepare.normalised import Normalised, NormalisedWriter, open_normalised

_KEY_BITS: Final = 2048
_MOST_UNKNOWN: Final = 200
"""Most names outside the catalogue that are told one by one."""


@dataclass(frozen=True)
class NotCompared:
    """A model, or a field of one, that this version does not know; in how many records it is."""

    model: str
    field: str | None
    left: int
    right: int


@dataclass(frozen=True)
class FileComparison:
    """How two exports differ; left is what is expected."""

    findings: tuple[Finding, ...]
    left: dict[str, int]
    right: dict[str, int]
    """Numbers of records that were compared, by model."""
    not_compared: tuple[NotCompared, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {
            "equal": not self.findings,
            "records": {"left": self.left, "right": self.right},
            "not_compared": [asdict(unknown) for unknown in self.not_compared],
            "findings": [finding.as_json() for finding in self.findings],
        }


class UnreadableError(Exception):
    """One of the files cannot be read as an export; the message names it and says why."""


def compare_files(left: Path, right: Path, *, private_pem: str | None) -> FileComparison:
    """Compare two exports; of what this version does not know, only the numbers.

    Working files are encrypted for a key that is never written, and removed at the end. Raises
    UnreadableError, KeyNeededError where a key is needed, OSError where there is no room to work.
    """
    own_key = create_private_key(_KEY_BITS)
    with TemporaryDirectory(prefix="relocation-") as folder:
        storage = FolderStorage(Path(folder))
        sides = [
            _Side(storage, prefix, own_key, path, private_pem)
            for prefix, path in (("left", left), ("right", right))
        ]
        findings = compare(*(side.form for side in sides))
        unknown = _not_compared(*sides)
        return FileComparison(
            findings=(*_unequal(unknown), *findings),
            left=sides[0].counts(),
            right=sides[1].counts(),
            not_compared=unknown,
        )


class _Side:
    """One of the files, in its normalised form."""

    def __init__(
        self, storage: Storage, prefix: str, own_key: str, path: Path, private_pem: str | None
    ) -> None:
        self.unknown: Counter[tuple[str, str | None]] = Counter()
        """Records, by a model or a field outside the catalogue."""
        self._users: dict[str, int] = {}
        self._named: set[str] = set()
        writer = NormalisedWriter(storage, prefix, public_key_of(own_key))
        try:
            with path.open("rb") as file:
                export = open_any_export(file, private_pem, own_key=own_key)
                for record in self._known(read_records(export.text)):
                    writer.add(record)
        except PermanentError as err:
            raise UnreadableError(f"{path}: {err.reason}") from err
        except OSError as err:
            raise UnreadableError(f"{err.filename or path}: {err.strerror or err}") from err
        except (ValueError, OverflowError) as err:
            raise UnreadableError(f"{path}: it contains a value that can't be stored.") from err
        writer.close(None, {name: pk for name, pk in self._users.items() if name in self._named})
        self.form: Normalised = open_normalised(storage, prefix, own_key)

    def counts(self) -> dict[str, int]:
        """Return the numbers of records that are compared, in dependency order."""
        return {model: self.form.count(model) for model in self.form.models()}

    def _known(self, records: Iterable[Record]) -> Iterator[Record]:
        """Leave out the models that are not in the catalogue, and note what is not compared."""
        catalogue = load_catalogue()
        for record in records:
            model = catalogue.get(record.model)
            if model is None:
                self._note(record.model, None)
                continue
            for field in record.fields.keys() - model.fields.keys():
                self._note(record.model, field)
            if record.model == USER:
                self._users.setdefault(str(record.fields.get("username")), record.pk)
            for field, key in model.foreign_keys.items():
                if key.to == USER and (name := natural_key(record.fields.get(field))):
                    self._named.add(name)
            yield record

    def _note(self, model: str, field: str | None) -> None:
        name = one_line(model, limit=100), field and one_line(field, limit=100)
        if name in self.unknown or len(self.unknown) < _MOST_UNKNOWN:
            self.unknown[name] += 1


def _not_compared(left: _Side, right: _Side) -> tuple[NotCompared, ...]:
    names = sorted({*left.unknown, *right.unknown}, key=lambda name: (name[0], name[1] or ""))
    return tuple(NotCompared(*name, left.unknown[name], right.unknown[name]) for name in names)


def _unequal(unknown: Iterable[NotCompared]) -> Iterator[Finding]:
    for one in unknown:
        if one.left != one.right:
            reason = f"Expected in {one.left} records, found in {one.right}."
            yield Finding(FindingKind.UNEQUAL_COUNTS, one.model, reason, field=one.field)

"""Take records out of a live database, into a file."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from relocation.catalogue import Scope
from relocation.cli.archives import split_slugs
from relocation.cli.output import AsJson, counting, fail, out, plain_errors, print_json
from relocation.cli.sealing import PublicKey, new_file, public_pem_of
from relocation.cli.server import reach_server
from relocation.errors import CommandError
from relocation.settings import Settings
from relocation.text import counted, listed

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from relocation.archive.records import Record

USAGE = 2
"""Exit code where a command was not understood."""


class ScopeName(StrEnum):
    """The scopes of the reference's export and import."""

    USER = "user"
    ORGANIZATION = "organization"
    CONFIG = "config"
    GLOBAL = "global"

    @property
    def scope(self) -> Scope:
        """The engine's scope of this name."""
        return Scope[self.name]


class End(StrEnum):
    """A database that a block leads to."""

    SOURCE = "source"
    DESTINATION = "destination"


Slugs = Annotated[
    list[str] | None,
    typer.Option(
        "--organization",
        "-o",
        callback=lambda given: split_slugs(given) if given else None,
        metavar="SLUGS",
        help="Slugs of organizations, separated by commas; repeatable.",
    ),
]


def export(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    *,
    organization: Slugs = None,
    scope: Annotated[
        ScopeName,
        typer.Option(
            metavar="SCOPE",
            help="organization: organizations and their members; user: accounts alone; config: "
            "settings and privileged accounts; global: everything.",
        ),
    ] = ScopeName.ORGANIZATION,
    username: Annotated[
        list[str] | None,
        typer.Option(metavar="USERNAME", help="With --scope user: only this account; repeatable."),
    ] = None,
    end: Annotated[
        End,
        typer.Option(
            "--from",
            metavar="BLOCK",
            help="Which block names the database: source or destination.",
        ),
    ] = End.SOURCE,
    plain: Annotated[bool, typer.Option("--plain", help="Write unencrypted JSON.")] = False,
    key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Export a snapshot of a live database into FILE, encrypted as it is read.

    The file appears once it is complete. The database is only read.

    Example: relocation export --organization acme acme.tar
    """
    from relocation.transfer.database.exporting import export_records  # noqa: PLC0415

    _check_filters(scope, organization, username)
    if plain and key:
        fail("Use either --plain or --key, not both.", code=USAGE)
    with (
        plain_errors(),
        counting(f"Reading the {end}", "Exported") as progress,
        new_file(file) as new,
    ):
        records = export_records(
            _engine(end),
            scope=scope.scope,
            organizations=organization,
            usernames=username,
            privileged_only=scope is ScopeName.CONFIG,
        )
        tally = _Tally(records, progress)
        _write(tally, new, None if plain else public_pem_of(key))
        missing = sorted(set(organization or ()) - tally.slugs)
        if missing:
            raise CommandError(
                f"These organizations are not in the {end}: {listed(missing, show=5)}."
            )
    if as_json:
        print_json({"file": file, "encrypted": not plain, "records": tally.records})
        return
    total = sum(tally.records.values())
    out.print(f"Wrote {counted(total, 'record')} to {file}.", markup=False, soft_wrap=True)


def _check_filters(
    scope: ScopeName, organizations: list[str] | None, usernames: list[str] | None
) -> None:
    if organizations and scope is not ScopeName.ORGANIZATION:
        fail("--organization needs --scope organization.", code=USAGE)
    if usernames and scope is not ScopeName.USER:
        fail("--username needs --scope user.", code=USAGE)
    if scope is ScopeName.ORGANIZATION and not organizations:
        fail("Name the organizations to export: --organization SLUG.", code=USAGE)


class _Tally:
    """Records on their way, counted."""

    def __init__(self, records: "Iterable[Record]", progress: Callable[[str, int], None]) -> None:
        self.records: Counter[str] = Counter()
        self.slugs: set[str] = set()
        self._source = records
        self._progress = progress

    def __iter__(self) -> "Iterator[Record]":
        for record in self._source:
            self.records[record.model] += 1
            if record.model == "sentry.organization":
                self.slugs.add(str(record.fields.get("slug")))
            yield record
            self._progress(record.model, 1)


def _write(records: "Iterable[Record]", new: BinaryIO, public_pem: str | None) -> None:
    from relocation.archive.envelope import sealing  # noqa: PLC0415
    from relocation.archive.records import write_export  # noqa: PLC0415

    if public_pem is None:
        write_export(records, new)
        return
    with sealing(public_pem, new) as sealed:
        write_export(records, sealed)


def _engine(end: End) -> "Engine":
    reach_server()
    from relocation.prefect_api import blocks  # noqa: PLC0415 - imports Prefect: seconds

    load = blocks.load_source if end is End.SOURCE else blocks.load_destination
    return load(Settings())

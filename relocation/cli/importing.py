"""Import a file straight into the destination, without a relocation around it."""

import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from relocation.cli.archives import ExportFile, KeyFile, examined, private_pem_of
from relocation.cli.exporting import USAGE, ScopeName, Slugs
from relocation.cli.output import (
    AsJson,
    counting,
    fail,
    out,
    plain_errors,
    print_json,
    print_table,
)
from relocation.settings import Settings
from relocation.text import counted


def import_(
    file: Annotated[Path, ExportFile],
    *,
    organization: Slugs = None,
    scope: Annotated[
        ScopeName,
        typer.Option(
            metavar="SCOPE",
            help="organization: organizations and their members; user: accounts alone; config: "
            "settings and privileged accounts; global: everything, into an empty destination.",
        ),
    ] = ScopeName.ORGANIZATION,
    merge_users: Annotated[
        bool,
        typer.Option(
            "--merge-users",
            help="Use existing accounts with the same username, unchanged, instead of new ones.",
        ),
    ] = False,
    overwrite_configs: Annotated[
        bool,
        typer.Option(
            "--overwrite-configs", help="Replace existing settings with the values in the file."
        ),
    ] = False,
    key: KeyFile = None,
    import_id: Annotated[
        str | None,
        typer.Option("--id", help="Resume the interrupted import with this id."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import FILE straight into the destination, without trial, verification, owner or emails.

    `relocation submit` does the same with all of these. Passwords are not imported in the scopes
    user and organization. Organizations stay hidden until all of them are complete.

    Example: relocation import acme.tar --key service.pem --organization acme
    """
    from relocation.prefect_api.blocks import load_destination  # noqa: PLC0415
    from relocation.transfer.load.from_file import FileImport, import_file  # noqa: PLC0415

    if organization and scope is not ScopeName.ORGANIZATION:
        fail("--organization needs --scope organization.", code=USAGE)
    settings = Settings()
    name = import_id or str(uuid.uuid4())
    with plain_errors(), examined(file):
        destination = load_destination(settings)
        if not as_json:
            out.print(f"Import {name}", markup=False)
        with counting(f"Reading {file.name}", "Importing") as progress:
            report = import_file(
                destination,
                file,
                FileImport(name, scope.scope, organization, merge_users, overwrite_configs),
                private_pem=private_pem_of(key),
                settings=settings,
                progress=progress,
            )
    if as_json:
        print_json({"id": name, **report.as_json()})
        return
    columns = ("read", "inserted", "merged", "overwritten", "skipped", "dropped")
    rows = [
        (model, *(asdict(account)[column] for column in columns))
        for model, account in report.accounts.items()
    ]
    print_table(("model", *columns), rows)
    out.print(f"\n{counted(len(report.findings), 'finding')}; --json has them all.")

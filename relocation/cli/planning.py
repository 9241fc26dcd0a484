"""Propose a plan for what a file would meet in the destination."""

from pathlib import Path
from typing import Annotated

import typer

from relocation.cli.archives import ExportFile, KeyFile, examined, private_pem_of
from relocation.cli.exporting import Slugs
from relocation.cli.output import AsJson, counting, fail, out, plain_errors, print_json, print_table
from relocation.plan import COLUMNS, write_plan
from relocation.settings import Settings


def plan(
    file: Annotated[Path, ExportFile],
    *,
    organization: Slugs = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="The plan to write; it must not exist yet."),
    ] = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show which users of FILE the destination already has, and which slugs are taken.

    Nothing is changed. In the column `becomes`, enter the id of the account that a user becomes, or
    an organization's new slug, then submit with --plan. Empty cells change nothing.

    Example: relocation plan acme.tar --organization acme --to plan.csv
    """
    from relocation.prefect_api.blocks import load_destination, load_private_key  # noqa: PLC0415
    from relocation.transfer.planning import proposal  # noqa: PLC0415

    if to is not None and to.exists():
        fail(f"{to} exists and is not overwritten. Name another file.")
    settings = Settings()
    with plain_errors(), examined(file), counting(f"Reading {file.name}", "Read"):
        pem = private_pem_of(key) or load_private_key(settings)
        rows = proposal(load_destination(settings), file, organization, private_pem=pem)
        if to is not None:
            write_plan(to, rows)
    if as_json:
        print_json(rows)
    elif to is not None:
        out.print(f"Wrote {len(rows)} rows to {to}.", markup=False, soft_wrap=True)
    else:
        print_table(COLUMNS, [[row.get(column) for column in COLUMNS] for row in rows])

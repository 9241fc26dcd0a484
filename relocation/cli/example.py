"""Write an example, for whoever has no export at hand."""

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from relocation.cli.output import AsJson, out, plain_errors, print_json
from relocation.cli.sealing import PublicKey, new_file, public_pem_of
from relocation.text import listed


def example(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    *,
    organizations: Annotated[
        int, typer.Option(min=1, max=100, help="Number of organizations.")
    ] = 2,
    key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Write an example archive for the key of the service, or a plain export if FILE ends in .json.

    Its organizations are acme, birch-labs and so on, with fictional people.

    Example: relocation example acme.tar
    """
    from relocation.archive.envelope import seal_export  # noqa: PLC0415
    from relocation.example import example_export, write_export  # noqa: PLC0415

    plain = file.suffix == ".json"
    with plain_errors():
        pem = None if plain else public_pem_of(key)
        records = example_export(organizations=organizations)
        slugs = [str(one.fields["slug"]) for one in records if one.model == "sentry.organization"]
        text = BytesIO()
        write_export(records, text)
        with new_file(file) as new:
            if pem is None:
                new.write(text.getvalue())
            else:
                seal_export(text.getvalue(), pem, new)
    if as_json:
        print_json({"file": file, "encrypted": not plain, "organizations": slugs})
        return
    out.print(f"Wrote {file}: {listed(slugs)}.", markup=False, soft_wrap=True)
    if plain:
        out.print(f"Examine it: relocation scan {file}", markup=False, soft_wrap=True)
    else:
        out.print(
            f"Relocate it: relocation submit {file} -o {slugs[0]} --owner olivia --wait",
            markup=False,
            soft_wrap=True,
        )

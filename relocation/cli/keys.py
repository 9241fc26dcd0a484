"""Make and show relocation keys."""

import os
from pathlib import Path
from typing import Annotated

import typer

from relocation.archive.keys import create_private_key, public_key_of
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json
from relocation.settings import Settings

app = typer.Typer(help="Make a relocation key, and show the half that others encrypt to.")


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Where to write the private key, PEM.")],
    bits: Annotated[int, typer.Option(min=2048, max=8192, help="Size of the RSA key.")] = 4096,
    as_json: AsJson = False,
) -> None:
    """Write a new private key to FILE, readable by you alone; an existing file is not replaced."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as err:
        fail(f"{file} exists; keys are never overwritten", err)
    with os.fdopen(descriptor, "w", encoding="ascii") as key:
        key.write(create_private_key(bits))
    if as_json:
        print_json({"file": file, "bits": bits})
        return
    out.print(f"Wrote the private key to {file}. Keep it secret.", soft_wrap=True)


@app.command()
def public(
    file: Annotated[
        Path | None,
        typer.Argument(help="A private key; without it, the one of the relocation-key block."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the public key that archives must be encrypted to."""
    with plain_errors():
        pem = public_key_of(_private_key(file))
    if as_json:
        print_json({"public_key": pem})
        return
    typer.echo(pem, nl=False)


def _private_key(file: Path | None) -> str:
    if file:
        return file.read_text(encoding="ascii")
    from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415 - imports Prefect: seconds

    return load_private_key(Settings())

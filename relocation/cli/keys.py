"""Make and show relocation keys."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from relocation.archive.keys import create_private_key, fingerprint_of, public_key_of
from relocation.archive.tarball import PUBLIC_KEY, read_members
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json
from relocation.cli.server import reach_server
from relocation.errors import ArchiveError, ConfigurationError
from relocation.settings import Settings

USAGE = 2
"""Exit code where a command was given what it cannot work on."""

app = typer.Typer(help="Create a relocation key, and show its public half and its fingerprint.")


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Where to write the private key, PEM.")],
    bits: Annotated[int, typer.Option(min=2048, max=8192, help="Size of the RSA key.")] = 4096,
    as_json: AsJson = False,
) -> None:
    """Write a new private key to FILE, readable only by you; existing files are not replaced."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as err:
        fail(f"{file} exists, and keys are never overwritten. Name another file.", err)
    except OSError as err:
        fail(f"{file} cannot be written: {err.strerror}.", err, code=USAGE)
    with os.fdopen(descriptor, "w", encoding="ascii") as key:
        key.write(create_private_key(bits))
    if as_json:
        print_json({"file": file, "bits": bits})
        return
    out.print(f"Wrote the private key to {file}. Keep it secret.", soft_wrap=True)


PrivateKey = Annotated[
    Path | None,
    typer.Argument(help="A private key; by default that of the relocation-key block."),
]


@app.command()
def public(file: PrivateKey = None, as_json: AsJson = False) -> None:
    """Print the public key, for which archives must be encrypted."""
    pem = _public_key(file)
    if as_json:
        print_json({"public_key": pem, "fingerprint": fingerprint_of(pem)})
        return
    typer.echo(pem, nl=False)


@app.command()
def fingerprint(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A public key, a private key or an archive; by default the key of the service."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the fingerprint of a key, or of the key that an archive was encrypted for."""
    said = fingerprint_of(_public_key(file, of_archive=True))
    if as_json:
        print_json({"fingerprint": said})
        return
    typer.echo(said)


def _public_key(file: Path | None, *, of_archive: bool = False) -> str:
    if file is None:
        reach_server()
        from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415 - imports Prefect: seconds

        with plain_errors():
            return public_key_of(load_private_key(Settings()))
    try:
        if of_archive:
            with file.open("rb") as stream, suppress(ArchiveError):
                pem = read_members(stream)[PUBLIC_KEY].read().decode("ascii")
                fingerprint_of(pem)
                return pem
        pem = file.read_text(encoding="ascii")
        if of_archive and "PUBLIC KEY" in pem:
            fingerprint_of(pem)
            return pem
        return public_key_of(pem)
    except OSError as err:
        fail(f"{file} cannot be read: {err.strerror}.", err, code=USAGE)
    except (ConfigurationError, UnicodeDecodeError) as err:
        kinds = "RSA key in PEM form or an archive" if of_archive else "RSA private key in PEM form"
        fail(
            f"{file} is not an {kinds}. Create a key with: relocation keys create FILE",
            err,
            code=USAGE,
        )

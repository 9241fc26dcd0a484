"""Encrypt and decrypt exports, and write files that appear when they are whole."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from relocation.cli.output import AsJson, counting, out, plain_errors, print_json
from relocation.cli.server import reach_server
from relocation.errors import CommandError
from relocation.settings import Settings

_HEAD = 512
PublicKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Public key, PEM, to encrypt for; by default that of the relocation-key block.",
    ),
]


def encrypt(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A plain export.")
    ],
    archive: Annotated[Path, typer.Argument(help="The archive to write; it must not exist yet.")],
    *,
    key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt the export FILE as ARCHIVE; only the private key opens it.

    Example: relocation encrypt export.json acme.tar --key service.pub
    """
    from relocation.archive.envelope import seal_export  # noqa: PLC0415

    with (
        plain_errors(),
        counting("Encrypting", ""),
        file.open("rb") as source,
        new_file(archive) as new,
    ):
        if not source.read(_HEAD).lstrip().startswith(b"["):
            raise CommandError(f"{file} is not a plain export, which is a JSON list of records.")
        source.seek(0)
        seal_export(source, public_pem_of(key), new)
    _say_written(archive, as_json)


def decrypt(
    archive: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="An archive.")
    ],
    file: Annotated[Path, typer.Argument(help="The export to write; it must not exist yet.")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="Private key, PEM; by default that of the relocation-key block.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decrypt ARCHIVE into the plain export FILE, which only you can read.

    The signature of the whole archive is checked before anything is written.

    Example: relocation decrypt acme.tar export.json --key service.pem
    """
    from relocation.archive.envelope import open_export  # noqa: PLC0415

    if key is None:
        reach_server()
    from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415 - imports Prefect

    with plain_errors(), counting("Decrypting", ""), new_file(file) as new:
        pem = key.read_text(encoding="ascii") if key else load_private_key(Settings())
        with archive.open("rb") as source:
            shutil.copyfileobj(open_export(source, pem, accept_plain=False), new)
    _say_written(file, as_json)


def _say_written(path: Path, as_json: bool) -> None:
    if as_json:
        print_json({"file": path, "bytes": path.stat().st_size})
        return
    out.print(f"Wrote {path}.", markup=False, soft_wrap=True)


def public_pem_of(file: Path | None) -> str:
    from relocation.archive.keys import load_public_key, public_key_of  # noqa: PLC0415

    if file is not None:
        pem = file.read_text(encoding="ascii")
        load_public_key(pem)
        return pem
    reach_server()
    from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415 - imports Prefect

    return public_key_of(load_private_key(Settings()))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that only its owner can read, and that appears when it is whole."""
    if path.exists():
        raise CommandError(f"{path} exists; it is not overwritten.")
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

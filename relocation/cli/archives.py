"""Look into archives, and compare them: on files alone, for whoever prepares a relocation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import httpx
import typer

from relocation.cli.archive_report import print_comparison, print_inspection
from relocation.cli.output import AsJson, counting, fail, print_json
from relocation.cli.server import server_listens
from relocation.errors import RelocationError
from relocation.settings import Settings

USAGE = 2
"""Exit code where a command was given what it cannot work on."""
ExportFile = typer.Argument(
    exists=True, dir_okay=False, readable=True, help="An export archive, or a plain export."
)
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Private key, PEM, of an encrypted archive; a plain export needs none.",
    ),
]


def scan(
    archive: Annotated[Path, ExportFile],
    *,
    organizations: Annotated[
        list[str] | None,
        typer.Option(
            "--organization",
            "-o",
            metavar="SLUGS",
            help="Slugs to move, separated by commas; by default all in the file.",
        ),
    ] = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what ARCHIVE contains, whether it would be accepted, and what would be left out.

    Needs no server and no database; if a server is known, its key opens an encrypted archive. Exit
    code 0: it would be accepted, 1: it would not, 2: it could not be examined.

    Example: relocation scan export.json --organizations acme,birch-labs
    """
    from relocation.archive.any_export import KeyNeededError  # noqa: PLC0415 - a tenth of a second
    from relocation.transfer.dry_run.inspection import inspect_archive  # noqa: PLC0415 - half a second

    settings = Settings()
    wanted = split_slugs(organizations or ())
    with (
        examined(archive),
        counting(f"Reading {archive.name}", "Rehearsing the import") as progress,
    ):
        look = partial(
            inspect_archive, archive, wanted=wanted, settings=settings, progress=progress
        )
        try:
            found = look(private_pem=private_pem_of(key))
        except KeyNeededError:
            own = _key_of_service(settings)
            if own is None:
                raise
            found = look(private_pem=own)
    if as_json:
        print_json(found.as_json())
    else:
        print_inspection(found, archive, settings)
    if found.reason:
        raise typer.Exit(1)


def compare(
    left: Annotated[Path, ExportFile],
    right: Annotated[Path, ExportFile],
    *,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare the export LEFT, made before an import, with RIGHT, made after it.

    Values that every import renews must differ: the ids of monitors and subscriptions, and the
    passwords of unclaimed users. Secrets and addresses are obscured. Exit code 0: equal, 1: there
    are differences, 2: they could not be compared.

    Example: relocation compare before.json after.json
    """
    from relocation.transfer.dry_run.comparing_files import UnreadableError, compare_files  # noqa: PLC0415

    private_pem = private_pem_of(key)
    with examined(left, right), counting("Comparing", "Comparing"):
        try:
            result = compare_files(left, right, private_pem=private_pem)
        except UnreadableError as err:
            fail(str(err), err, code=USAGE)
    if as_json:
        print_json(result.as_json())
    else:
        print_comparison(result)
    if result.findings:
        raise typer.Exit(1)


def split_slugs(texts: Sequence[str]) -> list[str]:
    """Cut comma lists; one trailing comma is allowed in each (A-126)."""
    return [slug.strip() for text in texts for slug in text.removesuffix(",").split(",")]


def private_pem_of(file: Path | None) -> str | None:
    from relocation.archive.keys import load_private_key  # noqa: PLC0415 - a tenth of a second

    if file is None:
        return None
    try:
        pem = file.read_text(encoding="ascii")
        load_private_key(pem)
    except (RelocationError, UnicodeDecodeError) as err:
        fail(f"{file} is not an unencrypted RSA private key in PEM form.", err, code=USAGE)
    except OSError as err:
        fail(f"{file}: {err.strerror or err}", err, code=USAGE)
    return pem


def _key_of_service(settings: Settings) -> str | None:
    """Return the private key of the service, or None where it cannot be had."""
    if not server_listens():
        return None
    from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415 - imports Prefect: seconds

    with suppress(RelocationError, httpx.HTTPError):
        return load_private_key(settings)
    return None


@contextmanager
def examined(*files: Path) -> Iterator[None]:
    """End with one line where a file cannot be worked on at all."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from relocation.archive.any_export import KeyNeededError  # noqa: PLC0415

    for file in files:
        if not file.is_file():  # a device or pipe could not be read twice, or ever to its end
            fail(f"{file} is not a regular file.", code=USAGE)
    try:
        yield
    except KeyNeededError as err:
        fail(
            "The archive is encrypted: name the file of its private key with --key, or use the "
            "export from before it was encrypted.",
            err,
            code=USAGE,
        )
    except OSError as err:
        fail(f"{err.filename or files[0]}: {err.strerror or err}", err, code=USAGE)
    except RelocationError as err:
        fail(err.internal or err.reason, err, code=USAGE)
    except SQLAlchemyError as err:
        fail(f"The import could not be rehearsed: {type(err).__name__}", err, code=USAGE)

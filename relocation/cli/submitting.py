"""Submit a relocation, having checked what can be checked at once."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocation.cli.archives import split_slugs
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json
from relocation.cli.relocations import show
from relocation.cli.server import reach_server
from relocation.cli.start_time import read_start
from relocation.errors import PermanentError, RequestError
from relocation.plan import Plan, read_plan
from relocation.request import RelocationRequest, check_request, check_size
from relocation.settings import Settings

if TYPE_CHECKING:
    from relocation.archive.storage import Storage


def submit(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="The export archive."),
    ] = None,
    *,
    live: Annotated[
        bool,
        typer.Option("--live", help="Export from the live source instead: relocation-source."),
    ] = False,
    organization: Annotated[
        list[str],
        typer.Option(
            "--organization",
            "-o",
            callback=split_slugs,
            metavar="SLUGS",
            help="Slugs to move, separated by commas; repeatable.",
        ),
    ],
    owner: Annotated[str, typer.Option(help="Username, in the destination, of the new owner.")],
    creator: Annotated[
        str | None, typer.Option(help="Username of the requester; by default the owner.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="CSV from `relocation plan`: which users become existing accounts, and new slugs.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When to start, such as 2026-03-01T22:00; an offset like +01:00 or Z is optional.",
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Time zone of --at, like Europe/Berlin; by default this machine's."
        ),
    ] = None,
    no_check: Annotated[
        bool,
        typer.Option("--no-check", help="Upload FILE unchecked; the service checks it."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it ends; exit code 1 unless it succeeds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check FILE, upload it to the relocation storage, and relocate organizations from it.

    FILE is uploaded only if it is an archive for the key of the service and contains the
    organizations. With --live there is no file: they are exported when the relocation begins.

    Example: relocation submit acme.tar --organization acme --owner olivia
    """
    if live == (file is not None):
        fail("Give either a FILE or --live.", code=2)
    settings = Settings()
    # A key of its own: a second upload must not change an archive that is being relocated.
    key = f"archives/{secrets.token_hex(4)}-{file.name}" if file else ""
    with plain_errors():
        try:
            start_at = read_start(at, time_zone, datetime.now(UTC)) if at is not None else None
        except RequestError as err:
            fail(err.reason, err, code=2)
        request = RelocationRequest(
            archive=key,
            source=settings.source_block if live else None,
            organizations=organization,
            owner=owner,
            creator=creator,
            plan=read_plan(plan) if plan else Plan(),
        )
        check_request(request, settings)
        reach_server()
        from relocation.prefect_api.blocks import load_storage  # noqa: PLC0415 - imports Prefect: seconds
        from relocation.prefect_api.flow_runs import RELOCATE  # noqa: PLC0415
        from relocation.prefect_api.flow_runs import submit as start  # noqa: PLC0415

        if file is not None:
            if not no_check:
                _check(file, request, settings)
            _upload(load_storage(settings), key, file)
        relocation_id = start(request, deployment=settings.named(RELOCATE), at=start_at)
    if wait:
        if not as_json:
            out.print(f"Relocation {relocation_id} was submitted.", soft_wrap=True)
        show(relocation_id, follow=True, as_json=as_json)
        return
    if as_json:
        print_json({"id": relocation_id, "archive": key or None, "starts_at": start_at})
        return
    out.print(f"Relocation {relocation_id} was submitted.", soft_wrap=True)
    if start_at is not None:
        out.print(f"It starts at {start_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.", soft_wrap=True)
    out.print(f"Follow it with: relocation show --follow {relocation_id}", soft_wrap=True)


def _check(file: Path, request: RelocationRequest, settings: Settings) -> None:
    """Refuse an archive that the service would refuse for its form, its key or its slugs."""
    from relocation.archive.envelope import check_archive  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_private_key  # noqa: PLC0415

    key = load_private_key(settings)
    try:
        check_size(file.stat().st_size, settings)
        with file.open("rb") as archive:
            check_archive(
                archive, key, request.organizations, accept_plain=settings.accept_plain_exports
            )
    except PermanentError as err:
        fail(f"{err.reason} Nothing was uploaded. Examine it with: relocation scan {file}", err)


def _upload(storage: "Storage", key: str, file: Path) -> None:
    with file.open("rb") as archive:
        storage.write_file(key, archive)

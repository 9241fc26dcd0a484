"""Set the service up, look after it, and see it work."""

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocation.cli.output import AsJson, errors, out, plain_errors, print_json, print_table
from relocation.cli.server import find_server
from relocation.errors import RequestError
from relocation.settings import Settings

if TYPE_CHECKING:
    from relocation.prefect_api.check import Check

INBOX_PORT = 2525


def setup(
    *,
    inbox_port: Annotated[
        int, typer.Option(help="Port of the local mail server, for a new mail block.")
    ] = INBOX_PORT,
    user: Annotated[
        str | None, typer.Option(help="Add this user, as an owner, to the embedded destination.")
    ] = None,
    blocks: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file with the contents of blocks; ${NAME} is an environment variable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(help="Replace blocks or the pool by those of --blocks and --pool."),
    ] = False,
    pool: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file of the work pool; by default a process pool.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create missing blocks, tables and work pool, and apply deployments and automations.

    Needs a running Prefect server (PREFECT_API_URL). Blocks that the file does not describe are
    embedded. Existing blocks are left alone, so that you can change them in the Prefect UI.
    Deployments and automations are set to what their files say; disabled ones stay disabled.
    """
    from relocation.prefect_api.block_file import read_block_file  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_destination  # noqa: PLC0415 - imports Prefect: seconds
    from relocation.prefect_api.deployments import deploy  # noqa: PLC0415
    from relocation.prefect_api.setup import set_up  # noqa: PLC0415
    from relocation.transfer.load.accounts import add_users  # noqa: PLC0415

    with plain_errors():
        if overwrite and blocks is None and pool is None:
            raise RequestError("--overwrite needs --blocks FILE or --pool FILE.")
        settings, fields = Settings(), read_block_file(blocks) if blocks else None
        outcome = set_up(settings, inbox_port=inbox_port, fields=fields, overwrite=overwrite)
        if user:
            new = add_users(load_destination(settings), (user,))
            outcome[f"user {user}"] = "added" if new else "there already"
        outcome[f"work pool {settings.work_pool}"] = deploy(
            settings, pool, overwrite=overwrite, tell=_warn
        )
    if as_json:
        print_json(outcome)
        return
    print_table(("what", "was"), list(outcome.items()))
    out.print("The ledger is up to date; deployments and automations are applied.")
    out.print(f"Start a worker with: prefect worker start --pool {settings.work_pool}")


def _warn(text: str) -> None:
    errors.print(text, markup=False, soft_wrap=True)


def inbox(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Local port to listen on.")
    ] = INBOX_PORT,
) -> None:
    """Run the mail server of the embedded mail block until Ctrl-C.

    It stores each email as .eml, .html and .txt in the folder `inbox` of the embedded data.
    """
    from relocation.local.inbox import Inbox  # noqa: PLC0415

    with plain_errors(), Inbox(Settings().home / "inbox", port) as box:
        out.print(f"Emails to 127.0.0.1:{box.port} go to {box.folder}. Ctrl-C stops it.")
        out.print(f"View them: {box.url}", soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def sweep(as_json: AsJson = False) -> None:
    """Send due emails and resume interrupted relocations now, not only every five minutes."""
    from relocation.prefect_api.deployments import sweep_now  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        run_id = sweep_now(Settings())
    if as_json:
        print_json({"run": run_id})
        return
    out.print(f"A worker sweeps as soon as it can: run {run_id}.", soft_wrap=True)


def doctor(as_json: AsJson = False) -> None:
    """Check the configuration, and whether everything works; exit code 1 if something does not."""
    find_server()
    from relocation.prefect_api.doctor import run_checks  # noqa: PLC0415 - imports Prefect: seconds

    checks = run_checks(Settings())
    if as_json:
        print_json([check.as_json() for check in checks])
    else:
        print_table(
            ("", "what", "is", "how to fix it"),
            [(_mark(check), check.what, check.detail, check.remedy) for check in checks],
        )
    if not all(check.good for check in checks):
        raise typer.Exit(1)


def _mark(check: "Check") -> str:
    if not check.good:
        return "BAD"
    return "warn" if check.remedy else "ok"


def demo(
    home: Annotated[Path, typer.Option(help="Folder of the demo, emptied first.")] = Path(
        ".relocation/demo"
    ),
) -> None:
    """Relocate an example archive, fail three times, fix one failure, and show what happened.

    It starts its own Prefect server, worker and mail server, and stops them at the end.
    """
    from relocation.local.demo.run import run_demo  # noqa: PLC0415
    from relocation.local.processes import end_in_order  # noqa: PLC0415

    end_in_order()
    with plain_errors():
        good = run_demo(home)
    if not good:
        raise typer.Exit(1)

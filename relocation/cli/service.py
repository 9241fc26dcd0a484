"""Set the service up, look after it, and see it work."""

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocation.cli.output import AsJson, out, plain_errors, print_json, print_table
from relocation.cli.server import find_server
from relocation.errors import RequestError
from relocation.settings import Settings

if TYPE_CHECKING:
    from relocation.prefect_api.check import Check

INBOX_PORT = 2525


def setup(
    *,
    inbox_port: Annotated[
        int, typer.Option(help="Port, on this machine, of the mail server of a new mail block.")
    ] = INBOX_PORT,
    user: Annotated[
        str | None, typer.Option(help="Add this user to the embedded destination, to own things.")
    ] = None,
    blocks: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file that says what blocks hold; ${NAME} in it is an environment variable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Let blocks that exist take what the file of --blocks says.")
    ] = False,
    pool: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file of a new work pool; a process pool if none.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create what is missing: blocks, tables, work pool, deployments and automations.

    Needs a running Prefect server (PREFECT_API_URL). What no file describes is embedded. A block
    that exists is left as it is, so that you can point any of them elsewhere in the Prefect UI.
    Deployments and automations become what their files say; what you disabled stays disabled.
    """
    from relocation.prefect_api.block_file import read_block_file  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_destination  # noqa: PLC0415 - imports Prefect: seconds
    from relocation.prefect_api.deployments import WORK_POOL, deploy  # noqa: PLC0415
    from relocation.prefect_api.setup import set_up  # noqa: PLC0415
    from relocation.transfer.load.embedded import add_users  # noqa: PLC0415

    with plain_errors():
        if overwrite and blocks is None:
            raise RequestError(
                "--overwrite needs --blocks: nothing else could be overwritten with."
            )
        settings, fields = Settings(), read_block_file(blocks) if blocks else None
        outcome = set_up(settings, inbox_port=inbox_port, fields=fields, overwrite=overwrite)
        if user:
            new = add_users(load_destination(settings), (user,))
            outcome[f"user {user}"] = "added" if new else "there already"
        outcome[f"work pool {WORK_POOL}"] = deploy(settings, pool)
    if as_json:
        print_json(outcome)
        return
    print_table(("what", "was"), list(outcome.items()))
    out.print("The ledger is migrated; deployments and automations are applied.")
    out.print(f"Start a worker with: prefect worker start --pool {WORK_POOL}")


def inbox(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen on, on this machine.")
    ] = INBOX_PORT,
) -> None:
    """Run the mail server that the embedded mail block points at, until Ctrl-C.

    It keeps each mail as .eml, .html and .txt in the folder `inbox` of the embedded data.
    """
    from relocation.local.inbox import Inbox  # noqa: PLC0415

    with plain_errors(), Inbox(Settings().home / "inbox", port) as box:
        out.print(f"Mails to 127.0.0.1:{box.port} go to {box.folder}. Ctrl-C ends this.")
        out.print(f"Look at them: {box.url}", soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def doctor(as_json: AsJson = False) -> None:
    """Say what is configured, from where, and whether it works; exit code 1 where it does not."""
    find_server()
    from relocation.prefect_api.doctor import run_checks  # noqa: PLC0415 - imports Prefect: seconds

    checks = run_checks(Settings())
    if as_json:
        print_json([check.as_json() for check in checks])
    else:
        print_table(
            ("", "what", "is", "how to mend"),
            [(_mark(check), check.what, check.detail, check.remedy) for check in checks],
        )
    if not all(check.good for check in checks):
        raise typer.Exit(1)


def _mark(check: "Check") -> str:
    if not check.good:
        return "BAD"
    return "warn" if check.remedy else "ok"


def demo(
    home: Annotated[
        Path, typer.Option(help="Folder of the demo, emptied first; must be the demo's own.")
    ] = Path(".relocation/demo"),
) -> None:
    """Relocate an example archive, fail three times, mend one, and show what happened.

    Starts a Prefect server, a worker and a mail server of its own, and ends them.
    """
    from relocation.local.demo.run import run_demo  # noqa: PLC0415
    from relocation.local.processes import end_in_order  # noqa: PLC0415

    end_in_order()
    with plain_errors():
        good = run_demo(home)
    if not good:
        raise typer.Exit(1)

"""Run the whole service on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from relocation.cli.output import plain_errors
from relocation.local.console import Console
from relocation.local.processes import end_in_order
from relocation.settings import Settings

if TYPE_CHECKING:
    from relocation.local.stack import Stack

OWNER = "olivia"
EXAMPLE = "archives/example.tar"


def up(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Prefect server and its UI.")
    ] = 4200,
    inbox_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the mail inbox; by default a free one."),
    ] = None,
    example: Annotated[
        bool,
        typer.Option(
            "--example",
            help=f"Add an example archive to the storage, and {OWNER} to a new destination.",
        ),
    ] = False,
) -> None:
    """Run everything on this machine until Ctrl-C: server, worker, deployments, inbox.

    Its state stays under RELOCATION_HOME (by default .relocation), and the next `up` resumes from
    it, including running relocations. It listens only on the loopback address.
    """
    end_in_order()
    console = Console()
    try:
        with plain_errors():
            _run(console, port=port, inbox_port=inbox_port, example=example)
    except KeyboardInterrupt:
        console.say("Stopped. `relocation up` resumes from here.")


def _run(console: Console, *, port: int, inbox_port: int | None, example: bool) -> None:
    from relocation.local.stack import running_stack  # noqa: PLC0415 - half a second

    home = Settings().home
    with running_stack(home, console, port=port, inbox_port=inbox_port) as stack:
        if example and stack.blocks[stack.settings.destination_block] == "created":
            with console.doing(f"Adding the user {OWNER}, and an example archive"):
                _add_example(stack)
        # Only now: it imports Prefect, which must find the server's address.
        from relocation.prefect_api.deployments import sweep_now  # noqa: PLC0415

        sweep_now(stack.settings)
        _say_where(stack, console)
        try:
            _watch(stack, console)
        finally:
            console.heading("Stopping ...")


def _add_example(stack: "Stack") -> None:
    from relocation.archive.keys import public_key_of  # noqa: PLC0415
    from relocation.example import example_archive, example_export  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_private_key, load_storage  # noqa: PLC0415
    from relocation.transfer.load.accounts import add_users  # noqa: PLC0415

    add_users(stack.destination, (OWNER,))
    key = public_key_of(load_private_key(stack.settings))
    archive = example_archive(example_export(), key)
    load_storage(stack.settings).write(EXAMPLE, archive)


def _say_where(stack: "Stack", console: Console) -> None:
    ui = stack.server.url.removesuffix("/api")
    console.heading("The service is up")
    rows: dict[str, Any] = {
        "Prefect UI": ui,
        "run one": "in the UI: Deployments > relocate > Run > Custom run",
        "emails": stack.inbox.url if stack.inbox else "sent by the mail block's server",
        "data, logs": _short(stack.home),
    }
    if (stack.home / "storage" / EXAMPLE).exists():
        rows["to try"] = f"archive {EXAMPLE}, organizations acme and birch-labs, owner {OWNER}"
    for name, what in rows.items():
        console.say(f"  {name:<11} {what}")
    console.heading("In another terminal, in this folder")
    console.say("  relocation doctor")
    console.say(f"  (elsewhere, first: export PREFECT_API_URL={stack.server.url})")
    console.heading("Ctrl-C stops everything")


def _watch(stack: "Stack", console: Console) -> NoReturn:
    """Wait for Ctrl-C, and keep a worker running; raises CommandError where that is no use."""
    while True:
        stack.keep_running(console.say)
        time.sleep(0.5)


def _short(path: Path) -> str:
    """Return the path from here where it lies below, else in full."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

"""What the demo says at its end."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from relocation.catalogue import Scope, load_catalogue
from relocation.local.console import Console
from relocation.local.demo.scenario import Ending
from relocation.local.stack import Stack
from relocation.transfer.database.schema import reflect

NEXT = {
    "relocation up --example": "Runs the service until Ctrl-C. Leave it up; in another terminal:",
    "relocation example acme.tar": "Writes an example archive for the key of the service.",
    "relocation submit acme.tar -o acme --owner olivia --wait": "Relocates it to its end.",
}
"""What to type after the demo, in this order, and what it does."""


def report(stack: Stack, console: Console, endings: list[Ending]) -> None:
    """Print what was relocated, how each relocation ended, every mail, and where it all lies."""
    say = console.say
    console.heading("How they ended")
    for ending in endings:
        one = ending.relocation
        console.ended(one.status, f"{ending.title} ({', '.join(one.organizations)})")
        if one.reason:
            say(f"     {one.reason}")
        say(f"     id {one.id}")
    console.heading("Rows in the destination")
    for name, rows in _rows(stack):
        say(f"  {rows:>6}  {name}")
    console.heading("Every email that was sent (.eml, and .html to view)")
    for mail in stack.inbox.messages() if stack.inbox else ():
        say(f"  to {mail.message['To']}: {mail.message['Subject']}")
        say(f"     {_short(mail.path)}")
        say(f"     {_short(mail.path.with_suffix('.html'))}")
    console.heading("Where everything is")
    for what, path in (
        ("destination", stack.home / "destination" / "destination.db"),
        ("ledger", stack.home / "ledger.db"),
        ("archives", stack.home / "storage" / "archives"),
        ("emails", stack.home / "inbox"),
        ("logs", stack.home / "prefect"),
    ):
        say(f"  {what:<12} {_short(path)}")
    console.heading("What to try next")
    for command, why in NEXT.items():
        say(f"  .venv/bin/{command}")
        say(f"     {why}")


def _rows(stack: Stack) -> Iterator[tuple[str, int]]:
    """Yield each model of an organization that has rows in the destination, and their number."""
    models = load_catalogue().admitted(Scope.ORGANIZATION)
    with stack.destination.connect() as connection:
        for name, one in reflect(stack.destination, models).items():
            count = select(func.count()).select_from(one.table)
            rows = connection.execute(count).scalar_one()
            if rows:
                yield name.split(".", 1)[1], rows


def _short(path: Path) -> str:
    """Return the path from here where it lies below, else in full."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

"""What a long command prints while it runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.markup import escape


class Console:
    """Progress for a person: one line a thing done, with its seconds."""

    def __init__(self) -> None:
        self.rich = RichConsole(highlight=False)

    def heading(self, text: str) -> None:
        """Begin a part of the story."""
        self.rich.print(f"\n[bold]{text}[/bold]")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show that something is being done, then that it was, and how long it took."""
        began = time.monotonic()
        if self.rich.is_terminal:
            with self.rich.status(f"{what} ..."):
                yield
        else:
            yield
        self.rich.print(f"  [green]ok[/green] {what} [dim]({time.monotonic() - began:.0f} s)[/dim]")

    def step(self, text: str) -> None:
        """Note a step of something long."""
        self.rich.print(f"     [dim]{text}[/dim]")

    def say(self, text: str) -> None:
        """Print a line as it is, whole."""
        self.rich.print(text, markup=False, soft_wrap=True)

    def ended(self, status: str, reason: str) -> None:
        """Say how a relocation ended."""
        colour = "green" if status == "SUCCESS" else "red"
        self.rich.print(f"  [{colour}]{status}[/{colour}] {escape(reason)}")

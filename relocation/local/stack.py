"""The whole service on this machine: a Prefect server, an inbox, the blocks, a worker."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from relocation.errors import CommandError
from relocation.local.address import recorded
from relocation.local.console import Console
from relocation.local.inbox import Inbox
from relocation.local.keeping import KeptWorker, end_left_over, end_runs
from relocation.local.processes import Server, prefect_server, prefect_worker, refuse_taken_port
from relocation.process import LOOPBACK
from relocation.settings import Settings
from relocation.text import counted

if TYPE_CHECKING:
    from relocation.prefect_api.blocks import MailServer


@dataclass(frozen=True)
class Stack:
    """Everything that runs."""

    home: Path
    settings: Settings
    server: Server
    worker: "KeptWorker | Popen[bytes]"
    inbox: Inbox | None
    """None where the mail block names a server elsewhere."""
    blocks: Mapping[str, str]
    """For each block's name, whether it was "created" or "kept"."""
    ledger: Engine
    destination: Engine

    def keep_running(self, tell: Callable[[str], None]) -> None:
        """Start the worker again where it has ended by itself, and tell of it.

        Raises CommandError where the server has, or the worker does so again and again.
        """
        code = self.worker.poll()
        if code is not None and isinstance(self.worker, KeptWorker) and self.worker.start_again():
            tell(
                f"The worker ended ({_ending(code)}) and is being restarted; its "
                f"runs resume. See {self.home / 'prefect' / 'worker.log'}"
            )
        self.check_running()

    def check_running(self) -> None:
        """Raise CommandError where server or worker has ended by itself."""
        for name, process in (("server", self.server.process), ("worker", self.worker)):
            if process.poll() is not None:
                log = self.home / "prefect" / f"{name}.log"
                raise CommandError(f"The Prefect {name} ended unexpectedly; see {log}")


@contextmanager
def running_stack(
    home: Path,
    console: Console,
    *,
    port: int,
    inbox_port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Start the service with its state in `home`, and end every process of it afterwards.

    What an earlier call left there goes on. A new mail block is given the inbox, on `inbox_port` or
    a free one; one that names another server is left alone. Sets the environment of this process:
    Prefect reads its own from there when it is imported. Raises CommandError where a port is taken,
    or another process uses `home`.
    """
    home = home.absolute()
    environment = {**(environment or {}), "RELOCATION_HOME": str(home)}
    _end_left_over(home, console)
    refuse_taken_port(
        port, "The service may already be up; otherwise choose another port with --port."
    )
    with ExitStack() as running:
        running.enter_context(_only_one(home))
        os.environ.update(environment, PREFECT_HOME=str(home / "prefect"))
        with console.doing("Starting the Prefect server"):
            server = running.enter_context(prefect_server(home / "prefect", port))
            os.environ["PREFECT_API_URL"] = server.url
            running.enter_context(recorded(home, server.url))
        # Imported only now: they import Prefect, which must find the server's address.
        from relocation.prefect_api.blocks import load_destination, load_ledger  # noqa: PLC0415
        from relocation.prefect_api.deployments import deploy  # noqa: PLC0415
        from relocation.prefect_api.setup import set_up  # noqa: PLC0415

        settings = Settings()
        with console.doing("Preparing the inbox, the blocks and their databases"):
            inbox = _inbox(settings, home / "inbox", inbox_port)
            if inbox:
                running.enter_context(inbox)
            blocks = set_up(settings, inbox_port=inbox.port if inbox else 0)
        with console.doing("Deploying the flows and starting a worker"):
            deploy(settings, tell=console.say)

            def start() -> AbstractContextManager["Popen[bytes]"]:
                return prefect_worker(home / "prefect", server.url, settings.work_pool, environment)

            running.callback(end_runs, home / "prefect")  # of a worker that died
            worker = running.enter_context(KeptWorker(start))
        yield Stack(
            home,
            settings,
            server,
            worker,
            inbox,
            blocks,
            load_ledger(settings),
            load_destination(settings),
        )


def _end_left_over(home: Path, console: Console) -> None:
    """End what an `up` that was killed has left there, unless another one is up."""
    with suppress(CommandError), _only_one(home):
        if left := end_left_over(home / "prefect"):
            what = counted(left, "process", "processes")
            console.say(f"Stopped {what} left behind by an earlier `up` that was killed.")


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Keep a second process from using the same databases; the lock ends with the process."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / ".up").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise CommandError(f"The service is already up, with its state in {home}.") from err
        yield


def _inbox(settings: Settings, folder: Path, port: int | None) -> Inbox | None:
    """Return the inbox that the mail block means, where it means one; it does not listen yet."""
    from relocation.prefect_api.setup import move_inbox  # noqa: PLC0415

    block = _mail_block(settings)
    if block is not None and (block.host, block.tls) != (LOOPBACK, "none"):
        return None
    inbox = Inbox(folder, port if port is not None else block.port if block else 0)
    if inbox.port:
        refuse_taken_port(inbox.port, "The inbox needs it: choose another with --inbox-port.")
    if block is not None:
        move_inbox(settings, inbox.port)
    return inbox


def _mail_block(settings: Settings) -> "MailServer | None":
    from relocation.prefect_api.blocks import MailServer, load_mail_server, stored_block  # noqa: PLC0415

    name = f"{MailServer.get_block_type_slug()}/{settings.mail_block}"
    return load_mail_server(settings) if stored_block(name) else None

"""A real Prefect server for the session, and for each test a service of its own on it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from embedded_service import Begin, GoOn, Keep, Kept, Service
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.states import Completed
from prefect_blocks import save_block
from prefect_database import prefect_harness
from pydantic import SecretStr

from relocation.archive.keys import create_private_key
from relocation.example import example_export
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port
from relocation.prefect_api.blocks import (
    MailServer,
    load_destination,
    load_ledger,
    load_mail_server,
)
from relocation.prefect_api.setup import set_up
from relocation.settings import Settings
from relocation.transfer.load.accounts import add_users


@pytest.fixture(scope="session")
def prefect_server(migrated_prefect: Path) -> Iterator[None]:
    """A Prefect server of this process's own."""
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect_harness(migrated_prefect), temporary_settings(quiet):
        yield


@pytest.fixture(scope="session")
def private_key(prefect_server: None) -> str:
    """The key of every service, in a block."""
    pem = create_private_key(2048)
    save_block(Secret(value=SecretStr(pem)), "test-key")
    return pem


@pytest.fixture(scope="session")
def begin(private_key: str, tmp_path_factory: pytest.TempPathFactory) -> Begin:
    """Set a service up once: to save six blocks takes longer than to copy four files."""
    folder = tmp_path_factory.mktemp("service")
    variables = {
        "RELOCATION_HOME": str(folder / "home"),
        "RELOCATION_KEY_BLOCK": "test-key",
        "RELOCATION_BACKOFF": "0",
        "RELOCATION_RESUME_AFTER": "0",
    }
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = Settings()
        set_up(settings, inbox_port=port)
        add_users(load_destination(settings), ("olivia", "carl"))
    shutil.copytree(folder / "home", folder / "template")
    return Begin(variables, folder / "template", port, private_key)


def _forget_runs(but: set[UUID]) -> None:
    """Delete the runs of earlier tests: no ledger knows them, so a sweep would settle them all."""
    others = FlowRunFilter(id=FlowRunFilterId(not_any_=list(but)))
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=others):
            for run in runs:
                client.delete_flow_run(run.id)


@contextmanager
def _begun(
    begin: Begin, patch: pytest.MonkeyPatch, mails: Path, kept: Kept | None = None
) -> Iterator[Service]:
    """Begin a service, or let it go on as it was kept; its mails go to a folder."""
    for name, value in begin.variables.items():
        patch.setenv(name, value)
    settings = Settings()
    shutil.rmtree(settings.home)
    shutil.copytree(kept.home if kept else begin.template, settings.home)
    if kept:
        shutil.copytree(kept.mails, mails)
    _forget_runs(but=begin.kept)
    with Inbox(mails, begin.mail_port) as inbox:
        ledger, destination = load_ledger(settings), load_destination(settings)
        yield Service(settings, ledger, destination, inbox, begin.private_key)
    server = load_mail_server(settings)
    if (server.host, server.port, server.tls) != ("127.0.0.1", inbox.port, "none"):
        there = MailServer(host="127.0.0.1", port=inbox.port, tls="none")
        save_block(there, settings.mail_block)


@pytest.fixture
def service(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service of the test's own: an empty ledger, a destination with two users, an inbox."""
    with _begun(begin, monkeypatch, tmp_path / "inbox") as one:
        yield one


def _keep(
    begin: Begin, folder: Path, happens: Callable[[Service, pytest.MonkeyPatch], object]
) -> Kept:
    home, mails = folder / "home", folder / "inbox"
    with pytest.MonkeyPatch.context() as patch, _begun(begin, patch, mails) as service:
        happens(service, patch)
        run = UUID(service.only().id)
        begin.kept.add(run)
        shutil.copytree(service.settings.home, home)
    return Kept(home, mails, run)


@pytest.fixture(scope="module")
def keep(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keep]:
    """What lets something happen once, for the tests of a file to go on from."""
    own: list[Kept] = []

    def let(happens: Callable[[Service, pytest.MonkeyPatch], object]) -> Kept:
        own.append(_keep(begin, tmp_path_factory.mktemp("kept"), happens))
        return own[-1]

    yield let
    begin.kept.difference_update(kept.run for kept in own)


@pytest.fixture
def go_on(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoOn]:
    """What gives a test a service as one was kept."""
    with ExitStack() as stack:
        yield lambda kept: stack.enter_context(_begun(begin, monkeypatch, tmp_path / "inbox", kept))


@pytest.fixture(scope="session")
def finished(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A service that has relocated acme, one of two organizations, for olivia, asked by carl."""

    def relocate_acme(service: Service, _: pytest.MonkeyPatch) -> None:
        archive = service.archive(example_export(organizations=2))
        assert service.relocate(archive, "acme", creator="carl").is_completed()

    return _keep(begin, tmp_path_factory.mktemp("finished"), relocate_acme)


@pytest.fixture
def relocated(finished: Kept, go_on: GoOn) -> Iterator[Service]:
    """A service of the test's own that has relocated acme, one of two organizations.

    All tests share one flow run of the Prefect server, which ends as completed each time.
    """
    yield go_on(finished)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(finished.run, Completed(), force=True)

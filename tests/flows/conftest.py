"""A real Prefect server for the session, and for each test a service of its own on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_service import Begin, Service
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect_blocks import save_block
from prefect_database import prefect_harness
from pydantic import SecretStr

from relocation.archive.keys import create_private_key
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
    return Begin(variables, folder / "template", port)


def _forget_runs() -> None:
    """Delete the runs of earlier tests: no ledger knows them, so a sweep would settle them all."""
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs():
            for run in runs:
                client.delete_flow_run(run.id)


@pytest.fixture
def service(
    begin: Begin, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service of the test's own: an empty ledger, a destination with two users, an inbox."""
    for name, value in begin.variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    shutil.rmtree(settings.home)
    shutil.copytree(begin.template, settings.home)
    _forget_runs()
    with Inbox(tmp_path / "inbox", begin.mail_port) as inbox:
        ledger, destination = load_ledger(settings), load_destination(settings)
        yield Service(settings, ledger, destination, inbox, private_key)
    server = load_mail_server(settings)
    if (server.host, server.port, server.tls) != ("127.0.0.1", inbox.port, "none"):
        there = MailServer(host="127.0.0.1", port=inbox.port, tls="none")
        save_block(there, settings.mail_block)

"""A real Prefect server for the session, and for each test a service of its own on it."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.states import State
from prefect.testing.utilities import prefect_test_harness
from pydantic import SecretStr
from sqlalchemy import Engine, Table, func, select

from flows.relocate import relocate
from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.example import write_export
from relocation.ledger.relocations import list_relocations
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port
from relocation.model import Relocation
from relocation.prefect_api.blocks import (
    MailServer,
    load_destination,
    load_ledger,
    load_mail_server,
    load_storage,
)
from relocation.prefect_api.setup import set_up
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.transfer.database.schema import reflect
from relocation.transfer.load.embedded import add_users


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect_test_harness(server_startup_timeout=300), temporary_settings(quiet):
        yield


@pytest.fixture(scope="session")
def private_key(prefect_server: None) -> str:
    pem = create_private_key(2048)
    Secret(value=SecretStr(pem)).save("test-key", _sync=True)
    return pem


@dataclass
class Service:
    """The embedded service as a test sees it."""

    settings: Settings
    ledger: Engine
    destination: Engine
    inbox: Inbox
    private_key: str

    def store(self, content: bytes, key: str = "archives/test.tar") -> str:
        """Put an archive into the storage as it is."""
        load_storage(self.settings).write(key, content)
        return key

    def archive(self, records: Iterable[Record]) -> str:
        """Put an encrypted archive of the records into the storage."""
        plain = BytesIO()
        write_export(records, plain)
        return self.store(self.seal(plain.getvalue()))

    def seal(self, plaintext: bytes, public_pem: str | None = None) -> bytes:
        """Encrypt bytes as an archive."""
        sealed = BytesIO()
        seal_export(plaintext, public_pem or public_key_of(self.private_key), sealed)
        return sealed.getvalue()

    def relocate(self, archive: str, *organizations: str, **more: Any) -> State[None]:
        """Run the flow to its end."""
        request = RelocationRequest(
            **{"archive": archive, "organizations": organizations, "owner": "olivia", **more}
        )
        return relocate(request, return_state=True)

    def only(self) -> Relocation:
        """Return the one relocation there is."""
        (relocation,) = list_relocations(self.ledger)
        return relocation

    def table(self, model: str) -> Table:
        """Return a table of the destination."""
        return reflect(self.destination, [load_catalogue()[model]])[model].table

    def rows(self, model: str) -> list[Any]:
        """Return all rows of a model's table."""
        with self.destination.connect() as connection:
            return list(connection.execute(select(self.table(model))))

    def count(self, model: str) -> int:
        """Return how many rows a model's table has."""
        with self.destination.connect() as connection:
            return connection.execute(
                select(func.count()).select_from(self.table(model))
            ).scalar_one()

    def lose_mail_server(self) -> None:
        """Let the mail block point where nobody listens."""
        nobody = MailServer(host="127.0.0.1", port=free_port(), tls="none")
        nobody.save(self.settings.mail_block, overwrite=True, _sync=True)

    def mails(self) -> list[tuple[str, str]]:
        """Return recipient and subject of each mail that arrived."""
        return sorted(
            (str(mail.message["To"]), str(mail.message["Subject"]))
            for mail in self.inbox.messages()
        )


@dataclass(frozen=True)
class Begin:
    """How every service begins: its settings, and a copy of what it has on disk by then."""

    variables: dict[str, str]
    template: Path
    mail_port: int


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
        there.save(settings.mail_block, overwrite=True, _sync=True)

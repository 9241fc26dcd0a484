"""The embedded service as a test sees it, with flows that run in the test's own process."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from prefect_blocks import save_block
from sqlalchemy import Engine, Row, Table, func, select

from flows.relocate import relocate
from relocation.archive.envelope import seal_export
from relocation.archive.keys import public_key_of
from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.example import write_export
from relocation.ledger.relocations import list_relocations
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port
from relocation.model import Relocation
from relocation.prefect_api.blocks import (
    MailServer,
    load_storage,
)
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.transfer.database.schema import reflect


def run_again(flow_run: FlowRun) -> State[None]:
    """Run `relocate` as a process does that was given the run."""
    state = run_flow(relocate, flow_run=flow_run, return_type="state")
    assert isinstance(state, State)
    return state


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

    def relocate(self, archive: str, *organizations: str, **more: object) -> State[None]:
        """Run the flow to its end."""
        request = RelocationRequest.model_validate(
            {"archive": archive, "organizations": organizations, "owner": "olivia", **more}
        )
        state: State[None] = relocate(request, return_state=True)
        return state

    def rerun(self, relocation_id: str) -> State[None]:
        """Do what Retry in the Prefect UI leads to: run the same flow run again."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(relocation_id), AwaitingRetry(), force=True)
            flow_run = client.read_flow_run(UUID(relocation_id))
        return run_again(flow_run)

    def only(self) -> Relocation:
        """Return the one relocation there is."""
        (relocation,) = list_relocations(self.ledger)
        return relocation

    def table(self, model: str) -> Table:
        """Return a table of the destination."""
        return reflect(self.destination, [load_catalogue()[model]])[model].table

    def rows(self, model: str) -> list[Row[Any]]:
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
        save_block(nobody, self.settings.mail_block)

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
    private_key: str
    kept: set[UUID] = field(default_factory=set)
    """The runs of relocations that tests go on from: the Prefect server has to know them."""


@dataclass(frozen=True)
class Kept:
    """What is on disk of a service to which something has happened, for many tests to go on from.

    A relocation takes seconds; to copy what it left takes none.
    """

    home: Path
    mails: Path
    run: UUID
    """Of its one relocation, at the Prefect server."""


Keep = Callable[[Callable[[Service, pytest.MonkeyPatch], object]], Kept]
"""Lets something happen to a service of its own, in which there is one relocation at the end."""


class GoOn(Protocol):
    """Returns a service of the test's own, as another one was kept."""

    def __call__(self, kept: Kept) -> Service: ...

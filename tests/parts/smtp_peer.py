"""An SMTP server that answers as it is told, and how the mail server's settings lead to it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict, Unpack

from aiosmtpd.smtp import SMTP, Envelope, Session

from relocation.delivery.smtp import MailServerSettings

Tls = Literal["none", "starttls", "ssl"]


class ServerChanges(TypedDict, total=False):
    """What is different in the settings of a mail server."""

    tls: Tls
    user: str | None
    password: str | None
    timeout: float
    cafile: str | None


class ServerAt(Protocol):
    """Makes the settings of a mail server on a port of this machine."""

    def __call__(self, port: int, **changes: Unpack[ServerChanges]) -> MailServerSettings: ...


@dataclass
class Peer:
    """An SMTP server that answers as it is told, and keeps what it took."""

    port: int
    rcpt_reply: dict[str, str] = field(default_factory=dict)
    data_reply: str = "250 2.0.0 queued as T1"
    drop_after_data: bool = False
    pipelining: bool = False
    """Whether it says that it takes commands in advance."""
    together: int = 1
    """Connections that have to be there before the first recipient is taken."""
    on_rcpt: Callable[[], None] = lambda: None
    on_data: Callable[[], None] = lambda: None
    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    # The names and the parameters are the library's.
    async def handle_EHLO(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], *["250-PIPELINING"] * self.pipelining, responses[-1]]

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        self.connections.add(session.peer)
        while len(self.connections) < self.together:
            await asyncio.sleep(0.01)
        self.on_rcpt()
        if address in self.rcpt_reply:
            return self.rcpt_reply[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
    ) -> str:
        self.on_data()
        if self.data_reply.startswith("250"):
            assert envelope.mail_from is not None
            assert envelope.original_content is not None
            self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        if self.drop_after_data:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return self.data_reply

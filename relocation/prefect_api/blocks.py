"""The blocks: the only way to a database, a storage, a mail server or a key (DESIGN 9)."""

from inspect import iscoroutine
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import Field, SecretStr
from sqlalchemy import URL, Engine, make_url

from relocation.archive.storage import Storage
from relocation.database import engine_options, prepare
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.errors import ConfigurationError
from relocation.notices.signing import SigningKey
from relocation.prefect_api.storage import storage_on
from relocation.settings import Settings

B = TypeVar("B", bound=Block)


class MailServer(Block):
    """The SMTP server that sends the notices."""

    _block_type_name = "Relocation mail server"
    _block_type_slug = "relocation-mail-server"
    _description = "SMTP server through which relocation sends its notices."

    host: str = Field(default=..., description="Name or address of the server.")
    port: int = Field(default=587, ge=1, le=65535, description="Port of the server.")
    tls: Literal["starttls", "ssl", "none"] = Field(
        default="starttls", description="How the connection is secured; certificates are verified."
    )
    username: str | None = Field(default=None, description="Login name, where one is needed.")
    password: SecretStr | None = Field(default=None, description="Password of the login.")
    cafile: str | None = Field(
        default=None, description="File of further certificate authorities to trust."
    )
    timeout: float = Field(default=20, gt=0, description="Seconds one exchange may take.")

    dkim_selector: str | None = Field(
        default=None, description="Selector of the DKIM key; without it the mails are not signed."
    )
    dkim_private_key: SecretStr | None = Field(
        default=None, description="RSA key as PEM; its public half is in the DNS of the sender."
    )

    def signing_key(self, domain: str) -> SigningKey | None:
        """Return what signs the mails of `domain`; raises ConfigurationError for half a key."""
        if not self.dkim_selector and self.dkim_private_key is None:
            return None
        pem = self.dkim_private_key.get_secret_value() if self.dkim_private_key else ""
        return SigningKey(self.dkim_selector or "", domain, pem)

    def mailer(self, sender: str) -> Mailer:
        """Return a connection that sends as `sender`; nothing is connected yet."""
        return Mailer(
            MailServerSettings(
                host=self.host,
                port=self.port,
                tls=self.tls,
                user=self.username,
                password=self.password.get_secret_value() if self.password else None,
                sender=sender,
                timeout=self.timeout,
                cafile=self.cafile,
            )
        )


def load_ledger(settings: Settings) -> Engine:
    """Return an engine on the ledger; raises ConfigurationError where the block is missing."""
    return _engine(settings.ledger_block)


def load_destination(settings: Settings) -> Engine:
    """Return an engine on the destination; raises ConfigurationError where the block is missing."""
    return _engine(settings.destination_block)


def load_source(settings: Settings) -> Engine:
    """Return an engine on the live source; raises ConfigurationError where the block is missing.

    It only reads, whatever its user may do.
    """
    try:
        engine = _engine(settings.source_block)
    except ConfigurationError as err:
        raise ConfigurationError(
            "No live database is set up here to export from. An operator has to set one up.",
            internal=f'the block "{settings.source_block}" does not exist: describe it as `source` '
            "in a file for `relocation setup --blocks`",
        ) from err
    return engine.execution_options(reads=True, postgresql_readonly=True)


def load_storage(settings: Settings) -> Storage:
    """Return the relocation storage; raises ConfigurationError where the block is missing."""
    return storage_on(_load(Block, settings.storage_block))


def load_private_key(settings: Settings) -> str:
    """Return the relocation key as PEM; raises ConfigurationError where the block is missing."""
    return str(_load(Secret, settings.key_block).get())


def load_mail_server(settings: Settings) -> MailServer:
    """Return the mail server; raises ConfigurationError where the block is missing."""
    return _load(MailServer, settings.mail_block)


def stored_block(name: str) -> Block | None:
    """Return the block of this type/name, or None where the Prefect server has none."""
    if block_id(name) is None:
        return None
    return _load(Block, name)


def block_id(name: str) -> UUID | None:
    """Return the id of the block of this type/name, or None where the server has none."""
    slug, _, plain_name = name.partition("/")
    with get_client(sync_client=True) as client:
        try:
            return client.read_block_document_by_name(plain_name, slug).id
        except ObjectNotFound:
            return None


def load_alerts(settings: Settings) -> NotificationBlock:
    """Return what the operator is alerted by; raises ConfigurationError where it is missing."""
    return load_notification_block(settings.alert_block)


def load_notification_block(name: str) -> NotificationBlock:
    """Return a notification block by type/name; raises ConfigurationError where there is none."""
    block = _load(Block, name)
    if not isinstance(block, NotificationBlock):
        raise _missing(name, "is not a notification block")
    return block


def send_to_block(name: str, subject: str, body: str) -> None:
    """Send a text through the notification block of this type/name; raises where that fails."""
    block = load_notification_block(name)
    with block.raise_on_failure():
        sent: Any = block.notify(body, subject)
        if iscoroutine(sent):  # a block type of somebody else's may have no other way
            run_coro_as_sync(sent)


def database_url(connector: SqlAlchemyConnector) -> URL:
    """Return where a connector points, password included: never print it without hiding that."""
    info = connector.connection_info
    return info.create_url() if isinstance(info, ConnectionComponents) else make_url(str(info))


def _engine(name: str) -> Engine:
    connector = _load(SqlAlchemyConnector, name)
    options = engine_options(database_url(connector).get_backend_name())
    return prepare(connector.get_engine(**options))


def _load(kind: type[B], name: str) -> B:
    try:
        # A sync call inside Prefect's event loop would otherwise return a coroutine.
        return cast(B, kind.load(name, _sync=True))  # type: ignore[call-arg]
    except ValueError as err:
        raise _missing(name, "does not exist") from err


def _missing(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        "The relocation service is not fully set up.",
        internal=f'the block "{name}" {what}; run `relocation setup`',
    )

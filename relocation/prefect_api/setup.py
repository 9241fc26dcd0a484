"""Create the blocks, from a file or in their embedded form, and the tables behind them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver
from pydantic import SecretStr, ValidationError
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import ArgumentError

from relocation.archive.keys import create_private_key
from relocation.database import engine_options, prepare
from relocation.errors import ConfigurationError
from relocation.ledger.migrate import migrate
from relocation.prefect_api.block_file import ROLES, bad_file
from relocation.prefect_api.blocks import (
    MailServer,
    database_url,
    load_destination,
    load_ledger,
    load_mail_server,
    stored_block,
)
from relocation.process import LOOPBACK
from relocation.settings import Settings
from relocation.transfer.database.schema import create_embedded, create_own_tables

CREATED, KEPT, OVERWRITTEN = "created", "kept", "overwritten"
DIFFERS = "kept, though it differs from the file"
_SETTINGS = {role: f"{'alert' if role == 'alerts' else role}_block" for role in ROLES}
Fields = Mapping[str, Mapping[str, Any]]


def set_up(
    settings: Settings, *, inbox_port: int, fields: Fields | None = None, overwrite: bool = False
) -> dict[str, str]:
    """Create each block that does not exist yet, and the tables; idempotent.

    `fields` says by role what a block holds; the others are made in their embedded form. A block
    that exists is left as it is, whatever it holds; with `overwrite` it takes what `fields` says.
    The ledger is migrated, and the destination is given our own tables; only an embedded one that
    is new is given all its tables. Returns for each block's name what was done.
    """
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    embedded: dict[str, Callable[[], Block]] = {
        "ledger": lambda: _sqlite(home / "ledger.db"),
        # In a folder of its own, with the files that SQLite lays beside it.
        "destination": lambda: _embedded_destination(home / "destination" / "destination.db"),
        "storage": lambda: _folder(home / "storage"),
        "mail": lambda: MailServer(host=LOOPBACK, port=inbox_port, tls="none"),
        "key": lambda: Secret(value=SecretStr(create_private_key())),
        "alerts": lambda: _alerts(settings, inbox_port),
    }
    names = _block_names(settings)
    given = {role: _from_file(role, names[role], one) for role, one in (fields or {}).items()}
    outcome = {
        getattr(settings, setting): _save(
            names[role], given.get(role), embedded.get(role), overwrite=overwrite
        )
        for role, setting in _SETTINGS.items()
        if role in given or role in embedded  # there is no live source but somebody's
    }
    ledger, destination = load_ledger(settings), load_destination(settings)
    migrate(ledger)
    create_own_tables(destination)
    ledger.dispose()
    destination.dispose()
    return outcome


def move_inbox(settings: Settings, port: int) -> None:
    """Let the mail block, and the alerts that go where its mails go, mean an inbox on `port`."""
    mail = load_mail_server(settings)
    if mail.port == port:
        return
    alerts = stored_block(settings.alert_block)
    if isinstance(alerts, SlackWebhook):
        address = urlsplit(alerts.url.get_secret_value())
        if (address.scheme, address.netloc) == ("mailto", f"{LOOPBACK}:{mail.port}"):
            alerts.url = SecretStr(address._replace(netloc=f"{LOOPBACK}:{port}").geturl())
            _replace(settings.alert_block.partition("/")[2], alerts)
    # Last: by its old port the alerts are known, should this process end between the two.
    mail.port = port
    _replace(settings.mail_block, mail)


def _replace(name: str, block: Block) -> None:
    block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def _block_names(settings: Settings) -> dict[str, str]:
    """Return each block's type and name, by its role; some settings have the type in front."""
    kinds = {
        "ledger": SqlAlchemyConnector,
        "destination": SqlAlchemyConnector,
        "source": SqlAlchemyConnector,
        "mail": MailServer,
        "key": Secret,
    }
    names = {role: getattr(settings, setting) for role, setting in _SETTINGS.items()}
    return names | {
        role: f"{kind.get_block_type_slug()}/{names[role]}" for role, kind in kinds.items()
    }


def _save(
    name: str, given: Block | None, embed: Callable[[], Block] | None, *, overwrite: bool
) -> str:
    stored = stored_block(name)
    if stored is not None and (given is None or not overwrite):
        return KEPT if given is None or _same(stored, given) else DIFFERS
    block = given or (embed and embed())
    if block is None:
        raise ValueError(f"nothing says what {name} holds")
    slug, _, plain_name = name.partition("/")
    if block.get_block_type_slug() != slug:
        raise ConfigurationError(
            "The relocation service is not fully set up.",
            internal=f'the block "{name}" does not exist, and without a file that describes it '
            f"only a {block.get_block_type_slug()} can be made",
        )
    block.save(plain_name, overwrite=stored is not None, _sync=True)  # type: ignore[call-arg]
    return CREATED if stored is None else OVERWRITTEN


def _same(one: Block, other: Block) -> bool:
    """Compare what two blocks hold, secrets too: a dump would show those as stars."""
    return type(one) is type(other) and all(
        getattr(one, field) == getattr(other, field) for field in type(one).model_fields
    )


def _from_file(role: str, name: str, fields: Mapping[str, Any]) -> Block:
    """Make a block of a role from its fields; errors name fields and never values."""
    if role in {"ledger", "destination", "source"}:
        connector: Block = _connector(role, fields)
        return connector
    try:
        kind: type[Block] = Block.get_block_class_from_key(name.partition("/")[0])
    except ValueError as err:
        raise bad_file(f"{role}: no block type {name.partition('/')[0]} is installed") from err
    unknown = fields.keys() - kind.model_fields.keys()
    if unknown:
        raise bad_file(f"{role}: no field {', '.join(sorted(unknown))}")
    try:
        block: Block = kind(**fields)
    except ValidationError as err:
        wrong = ", ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors())
        raise bad_file(f"{role}: {wrong}") from None
    return block


def _connector(role: str, fields: Mapping[str, Any]) -> SqlAlchemyConnector:
    if fields.keys() != {"url"}:
        raise bad_file(f"{role}: has one field, url")
    try:
        url = make_url(str(fields["url"]))
    except (ArgumentError, ValueError):
        raise bad_file(f"{role}: the url cannot be read") from None
    # Apart, not as one text: Prefect hides the password of these alone.
    parts = ConnectionComponents(
        driver=url.drivername,
        database=url.database,
        username=url.username,
        password=SecretStr(url.password) if url.password else None,
        host=url.host,
        port=url.port,
        query={name: one for name, one in url.query.items() if isinstance(one, str)} or None,
    )
    return SqlAlchemyConnector(connection_info=parts)


def _sqlite(path: Path) -> SqlAlchemyConnector:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    # mode=rw: a file that has vanished is an error, never a new and empty database.
    return SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver=SyncDriver.SQLITE_PYSQLITE,
            database=f"file:{path}",
            query={"mode": "rw", "uri": "true"},
        )
    )


def _embedded_destination(path: Path) -> SqlAlchemyConnector:
    connector = _sqlite(path)
    # Before the block is saved: a block that exists must have its tables.
    create_embedded(prepare(create_engine(database_url(connector), **engine_options("sqlite"))))
    return connector


def _folder(path: Path) -> LocalFileSystem:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return LocalFileSystem(basepath=str(path))


def _alerts(settings: Settings, inbox_port: int) -> SlackWebhook:
    # Prefect's blocks with a URL take every address that Apprise knows, mail among them, and the
    # server can load no block type of our own.
    mail = {"from": settings.sender_email, "to": settings.operator_email, "format": "text"}
    return SlackWebhook(url=SecretStr(f"mailto://{LOOPBACK}:{inbox_port}?{urlencode(mail)}"))

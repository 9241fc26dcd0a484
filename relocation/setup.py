"""Create what is missing: the five blocks, and the tables behind them."""

from collections.abc import Callable
from pathlib import Path

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver
from pydantic import SecretStr
from sqlalchemy import create_engine

from relocation.archive.keys import create_private_key
from relocation.blocks import (
    MailServer,
    block_exists,
    database_url,
    load_destination,
    load_ledger,
)
from relocation.database import engine_options, prepare
from relocation.errors import ConfigurationError
from relocation.ledger.migrate import migrate
from relocation.settings import Settings
from relocation.transfer.schema import create_embedded, create_own_tables


def set_up(settings: Settings, *, inbox_port: int) -> dict[str, str]:
    """Create each block that does not exist yet, in its embedded form; idempotent.

    A block that exists is left as it is, whatever it holds. The ledger is migrated, and the
    destination is given our own tables; only an embedded one that is new is given all its tables.
    Returns for each block's name "created" or "kept".
    """
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    makers: dict[str, tuple[type[Block], Callable[[], Block]]] = {
        settings.ledger_block: (SqlAlchemyConnector, lambda: _sqlite(home / "ledger.db")),
        settings.destination_block: (
            SqlAlchemyConnector,
            # In a folder of its own, with the files that SQLite lays beside it.
            lambda: _embedded_destination(home / "destination" / "destination.db"),
        ),
        settings.storage_block: (Block, lambda: _folder(home / "storage")),
        settings.mail_block: (
            MailServer,
            lambda: MailServer(host="127.0.0.1", port=inbox_port, tls="none"),
        ),
        settings.key_block: (Secret, lambda: Secret(value=SecretStr(create_private_key()))),
    }
    outcome = {name: _create(name, kind, make) for name, (kind, make) in makers.items()}
    migrate(load_ledger(settings))
    create_own_tables(load_destination(settings))
    return outcome


def _create(name: str, kind: type[Block], make: Callable[[], Block]) -> str:
    if block_exists(kind, name):
        return "kept"
    if "/" in name and not name.startswith(f"{LocalFileSystem.get_block_type_slug()}/"):
        raise ConfigurationError(
            "The relocation service is not completely set up.",
            internal=f'the block "{name}" does not exist, and only a local folder can be made here',
        )
    # The storage's name has its type in front, since a filesystem block of any type will do.
    make().save(name.rsplit("/", 1)[-1], _sync=True)  # type: ignore[call-arg]
    return "created"


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

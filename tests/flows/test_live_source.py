"""Out of a live product: one moment of it, whole or not at all, and only read."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from embedded_service import GoOn, Keep, Kept, Service
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect_blocks import save_block
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver
from sqlalchemy import Engine, create_engine, event, text

from relocation.catalogue import load_catalogue
from relocation.database import engine_options, prepare
from relocation.example import example_export
from relocation.ledger.tries import tries_of
from relocation.steps import Status, Task
from relocation.transfer.database.schema import create_embedded, reflect
from relocation.transfer.dry_run.existing import load_existing
from relocation.transfer.load.rules import ACTIVE
from relocation.transfer.source import RecordList

EXAMPLE = example_export(organizations=2, members=3, projects=2)


@contextmanager
def live_product(path: Path) -> Iterator[Engine]:
    """Make a live product with two organizations, and the block that leads to it."""
    engine = prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))
    create_embedded(engine)
    tables = reflect(engine, load_catalogue().values())
    load_existing(engine, tables, [RecordList(EXAMPLE, load_catalogue())])
    block = SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver=SyncDriver.SQLITE_PYSQLITE,
            database=f"file:{path}",
            # As good as a user who can only read.
            query={"mode": "ro", "uri": "true"},
        )
    )
    save_block(block, "relocation-source")
    yield engine
    engine.dispose()


@pytest.fixture
def live(service: Service, tmp_path: Path) -> Iterator[Engine]:
    """A live product with two organizations, and the block that leads to it."""
    with live_product(tmp_path / "live.db") as engine:
        yield engine


@pytest.fixture(scope="module")
def kept(keep: Keep, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A service into which acme was relocated out of a live product, old.example.org."""

    def relocate(service: Service, _: pytest.MonkeyPatch) -> None:
        with live_product(tmp_path_factory.mktemp("live") / "live.db") as live:
            with live.begin() as connection:
                connection.execute(
                    text(
                        "INSERT INTO sentry_option (id, key, value, last_updated) VALUES (900, "
                        "'system.url-prefix', '\"https://old.example.org\"', '2026-01-02 03:04:05')"
                    )
                )
            assert ask(service, "acme").is_completed()

    return keep(relocate)


@pytest.fixture
def moved(kept: Kept, go_on: GoOn) -> Service:
    """A service into which acme was relocated out of a live product, old.example.org."""
    return go_on(kept)


def ask(service: Service, *organizations: str) -> State[None]:
    return service.relocate("", *organizations, source="relocation-source")


def stored(service: Service) -> list[str]:
    """The archives in the storage, whole or not."""
    folder = service.settings.home / "storage"
    return [path.name for path in folder.rglob("*") if path.is_file() and "archive" in path.name]


def test_organizations_go_from_one_live_product_into_another(
    moved: Service,
) -> None:
    service = moved
    (organization,) = service.rows("sentry.organization")
    assert (organization.slug, organization.status) == ("acme", ACTIVE)
    keys = {r.fields["public_key"] for r in EXAMPLE if r.model == "sentry.projectkey"}
    arrived = {row.public_key for row in service.rows("sentry.projectkey")}
    assert arrived
    assert arrived < keys  # those of the other organization stayed
    assert ("olivia@example.org", "SUCCEEDED") in {
        (str(mail.message["To"]), "SUCCEEDED") for mail in service.inbox.messages()
    }
    assert stored(service) == []  # nobody uploaded it, so it does not stay


def test_a_claim_names_the_host_that_the_live_product_keeps_as_its_own(moved: Service) -> None:
    texts = [mail.part("plain") for mail in moved.inbox.messages()]
    claims = [one for one in texts if "/recover/confirm/" in one]
    assert claims
    for one in claims:  # no client makes a link of the host: unseen characters break it
        assert re.search(r"Moved from: +old\.example\.org\n", re.sub(r"[^ -~\n]", "", one)), one


def test_an_interrupted_export_leaves_nothing_and_begins_at_a_new_moment(
    service: Service, live: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting = sys.modules["relocation.transfer.live"]
    whole = exporting.export_records

    def broken(*arguments: object, **options: object) -> Iterator[object]:
        for number, record in enumerate(whole(*arguments, **options)):
            if number > 20:
                raise ConnectionError("the source went away")
            yield record

    monkeypatch.setattr(exporting, "export_records", broken)
    assert ask(service, "acme").is_failed()
    relocation = service.only()
    assert (relocation.status, relocation.failed_task) == (Status.FAILURE, Task.EXPORT_SOURCE)
    assert stored(service) == []
    # It is told to its owner, whom it had met before.
    assert relocation.owner_email == "olivia@example.org"

    monkeypatch.setattr(exporting, "export_records", whole)
    with live.begin() as connection:
        connection.execute(
            text("UPDATE sentry_organization SET name = 'By now' WHERE slug = 'acme'")
        )
    assert service.rerun(relocation.id).is_completed()
    assert "By now" in {row.name for row in service.rows("sentry.organization")}
    outcomes = [
        one.outcome
        for one in tries_of(service.ledger, relocation.id)
        if one.task == Task.EXPORT_SOURCE
    ]
    assert outcomes == ["FAILED"] * 4 + ["DONE"]


def test_a_rerun_after_the_export_takes_the_archive_that_is_there(
    service: Service, live: Engine
) -> None:
    with service.destination.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE INSERT ON sentry_projectkey "
                "WHEN EXISTS (SELECT 1 FROM auth_user WHERE username = 'carl') "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        )
    assert ask(service, "acme").is_failed()
    relocation = service.only()
    assert stored(service) == ["archive.tar"]
    with service.destination.begin() as connection:
        connection.execute(text("DROP TRIGGER broken"))
    with live.begin() as connection:
        connection.execute(
            text("UPDATE sentry_organization SET name = 'By now' WHERE slug = 'acme'")
        )
    assert service.rerun(relocation.id).is_completed()
    assert "By now" not in {row.name for row in service.rows("sentry.organization")}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"source": "relocation-ledger"}, "only live source here is relocation-source"),
        ({"source": "relocation-source", "archive": "archives/a.tar"}, "not both"),
        ({"source": "relocation-source", "organizations": ["nobody"]}, "nobody"),
        ({"source": "relocation-source", "owner": "stranger"}, "stranger"),
    ],
)
def test_a_request_that_cannot_be_is_refused_before_anything_is_exported(
    service: Service, live: Engine, request_: dict[str, Any], said: str
) -> None:
    read: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def watch(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if "sentry_projectkey" in sql and sql.startswith(("SELECT", "WITH")):
            read.append(sql)

    try:
        given = {"archive": "", "organizations": ["acme"], **request_}
        organizations = given.pop("organizations")
        assert service.relocate(given.pop("archive"), *organizations, **given).is_failed()
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    assert said in (service.only().reason or "")
    assert stored(service) == []
    assert read == [] or said == "nobody"


def test_a_missing_block_says_what_to_set_up(service: Service) -> None:
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("relocation-source", "sqlalchemy-connector")
        client.delete_block_document(document.id)
    assert ask(service, "acme").is_failed()
    assert "No live database is set up here" in (service.only().reason or "")
    assert "relocation setup --blocks" in (service.only().internal_error or "")


def test_the_storage_shows_an_upload_when_it_is_whole(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relocation.prefect_api.blocks import load_storage

    storage = load_storage(service.settings)
    file = tmp_path / "big"
    file.write_bytes(b"x" * 3_000_000)

    def cut(_source: object, target: BinaryIO, _size: int) -> None:
        target.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(shutil, "copyfileobj", cut)
    with file.open("rb") as opened, pytest.raises(OSError, match="no space"):
        storage.write_file("archives/big", opened)
    with pytest.raises(FileNotFoundError):
        storage.open("archives/big")
    monkeypatch.undo()
    with file.open("rb") as opened:
        opened.read(10)
        storage.write_file("archives/big", opened)
    with storage.open("archives/big") as back:
        assert back.read() == file.read_bytes()

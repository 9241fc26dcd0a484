"""A storage elsewhere: a file describes it, its secrets stay secret, relocations work in it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from embedded_service import Service
from prefect.client.orchestration import get_client
from prefect.filesystems import RemoteFileSystem
from prefect_blocks import save_block
from s3_server import PLAIN, SECRET, S3Server, s3_server

from relocation.example import example_export
from relocation.local.processes import free_port
from relocation.prefect_api.blocks import block_id, load_storage
from relocation.prefect_api.check import Check, check
from relocation.prefect_api.doctor_storage import storage
from relocation.prefect_api.setup import set_up
from relocation.settings import Settings
from relocation.steps import Status


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as one:
        yield one


def _described(kind: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Set a storage up that no other test has."""
    monkeypatch.setenv("RELOCATION_STORAGE_BLOCK", f"{kind}/own-{uuid.uuid4()}")
    settings = Settings()
    done = set_up(settings, inbox_port=1, fields={"storage": fields})
    assert done[settings.storage_block] == "created"
    return settings


def _shown(settings: Settings) -> str:
    """Return what the Prefect UI asks for, of the storage."""
    stored = block_id(settings.storage_block)
    assert stored is not None
    with get_client(sync_client=True) as client:
        return client.read_block_document(stored, include_secrets=False).model_dump_json()


def _checked(settings: Settings) -> Check:
    return check("storage", lambda: storage(settings), "")


@pytest.mark.parametrize("kind", ["s3-bucket", "relocation-remote-storage"])
def test_what_a_storage_is_reached_with_is_never_shown(
    service: Service, server: S3Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    remote = server.remote()
    fields = {"basepath": remote.basepath, "settings": remote.settings.get_secret_value()}
    given = server.fields() if kind == "s3-bucket" else fields
    settings = _described(kind, given, monkeypatch)
    again = set_up(settings, inbox_port=1, fields={"storage": given})
    assert again[settings.storage_block] == "kept"
    assert SECRET not in _shown(settings)
    looked = _checked(settings)
    assert (looked.good, looked.remedy) == (True, "")
    assert server.keys() == []


def test_the_password_of_a_storage_that_is_away_is_not_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    access = {"host": "127.0.0.1", "port": free_port(), "username": "me", "password": SECRET}
    fields = {"basepath": "ftp://127.0.0.1/kept", "settings": access}
    settings = _described("relocation-remote-storage", fields, monkeypatch)
    looked = _checked(settings)
    assert not looked.good
    assert "refused" in looked.detail
    with pytest.raises(ConnectionRefusedError) as away:
        load_storage(settings).open("archives/one")
    assert SECRET not in f"{looked} {away.getrepr(showlocals=False)} {caplog.text}"


def test_doctor_warns_of_a_block_that_shows_a_password(
    service: Service, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = RemoteFileSystem(**server.remote().file_system().model_dump())
    name = f"own-{uuid.uuid4()}"
    save_block(shown, name)
    monkeypatch.setenv("RELOCATION_STORAGE_BLOCK", f"remote-file-system/{name}")
    looked = _checked(Settings())
    assert looked.good
    assert looked.detail == "the Prefect UI shows its key, secret"
    assert "relocation-remote-storage" in looked.remedy
    assert SECRET not in str(looked)


def test_a_relocation_works_in_a_bucket_and_leaves_its_archive_there(
    service: Service, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _described("s3-bucket", server.fields(PLAIN), monkeypatch)
    service.settings = Settings()
    archive = service.archive(example_export(organizations=1))
    service.relocate(archive, "acme")
    assert service.only().status is Status.SUCCESS
    assert service.count("sentry.organization") == 1
    assert server.keys() == [f"kept/{archive}"]

"""Relocations that die at a chosen commit, are found, and go on, against a real Prefect server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from mortal_world import ENVIRONMENT, World
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect_blocks import save_block
from prefect_database import prefect_harness
from pydantic import SecretStr

from flows.relocate import relocate
from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.example import example_export, write_export
from relocation.local.inbox import Inbox
from relocation.prefect_api.blocks import (
    load_destination,
    load_private_key,
    load_storage,
)
from relocation.prefect_api.setup import set_up
from relocation.settings import Settings
from relocation.transfer.load.accounts import add_users


@pytest.fixture(scope="module")  # what runs idly after it would slow down all the rest
def world(migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with one archive, and processes that die when they are told to."""
    home = tmp_path_factory.mktemp("kill")
    variables = {**ENVIRONMENT, "RELOCATION_HOME": str(home / "data")}
    with (
        pytest.MonkeyPatch.context() as patch,
        prefect_harness(migrated_prefect),
        Inbox(home / "inbox") as inbox,
    ):
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = Settings()
        key = SecretStr(create_private_key(2048))  # a large one takes long to load
        save_block(Secret(value=key), settings.key_block)
        set_up(settings, inbox_port=inbox.port)
        _fill(settings)
        environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
        command = [sys.executable, str(Path(__file__).with_name("processes.py"))]
        with (home / "log").open("a") as log:
            processes = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with processes:
            yield World(home, inbox, processes)


def _fill(settings: Settings) -> None:
    add_users(load_destination(settings), ("olivia",))
    plain, sealed = BytesIO(), BytesIO()
    write_export(example_export(organizations=1, members=1, projects=1), plain)
    seal_export(plain.getvalue(), public_key_of(load_private_key(settings)), sealed)
    load_storage(settings).write("archives/a.tar", sealed.getvalue())
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(relocate)
        client.create_deployment(flow_id, name="relocate", entrypoint="flows.relocate.relocate")

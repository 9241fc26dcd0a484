"""What we use of Prefect without its promise is still there, and does what we need of it."""

import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

from prefect.exceptions import Abort, Pause
from prefect.filesystems import RemoteFileSystem
from prefect.states import Suspended
from prefect.utilities.schema_tools import validate
from prefect.workers.base import BaseJobConfiguration


def test_a_remote_file_system_connects_anew_once_what_it_has_is_forgotten() -> None:
    """`BlockStorage` has no other way to get rid of a connection that broke."""
    block = RemoteFileSystem(basepath="memory://relocation")
    first = block.filesystem
    assert block.filesystem is first
    type(first).clear_instance_cache()
    block._filesystem = None
    assert block.filesystem is not first


def test_aborting_is_no_failure_and_no_crash() -> None:
    """Neither `except Exception` nor the engine's handling of crashes may see it."""
    assert issubclass(Abort, BaseException)
    assert not issubclass(Abort, (Exception, Pause))
    assert not issubclass(Pause, Exception)


def test_a_suspension_keeps_the_key_it_was_given() -> None:
    assert Suspended(timeout_seconds=60, pause_key="fence-1").state_details.pause_key == "fence-1"


def test_a_process_of_a_run_knows_the_flow_it_runs() -> None:
    """`relocation up` lets those of the safety net come to their end."""
    flow: Any = SimpleNamespace(name="sweep")
    environment = BaseJobConfiguration._base_attribution_environment(flow=flow)
    assert environment["PREFECT__FLOW_NAME"] == "sweep"


def test_the_server_tells_its_version_where_we_ask_for_it() -> None:
    from prefect.server.api import admin

    paths = [getattr(route, "path", "") for route in admin.router.routes]
    assert "/admin/version" in paths


def test_the_schema_of_a_worker_refuses_what_it_does_not_know() -> None:
    schema = {"type": "object", "properties": {"limit": {"type": "integer"}}}
    assert validate({"limit": 1}, schema, raise_on_error=False, ignore_required=True) == []
    assert validate({"limit": "x"}, schema, raise_on_error=False, ignore_required=True)


def test_an_automation_matches_any_of_several_deployments() -> None:
    from prefect.server.events.schemas.events import Resource, ResourceSpecification

    wanted = ResourceSpecification.model_validate(
        {"prefect.resource.id": ["prefect.deployment.a", "prefect.deployment.b"]}
    )
    assert wanted.matches(Resource({"prefect.resource.id": "prefect.deployment.b"}))
    assert not wanted.matches(Resource({"prefect.resource.id": "prefect.deployment.c"}))


def test_our_block_type_is_known_to_prefect_wherever_we_are_installed() -> None:
    ours = [one for one in entry_points(group="prefect.collections") if one.name == "relocation"]
    assert [one.value for one in ours] == ["relocation.prefect_api.blocks"]
    code = (
        "from prefect.blocks.core import Block\n"
        "print(Block.get_block_class_from_key('relocation-mail-server').__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MailServer"

"""Two installations on one Prefect server: neither sees, settles or tells what is the other's."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from embedded_service import Begin
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed

from flows.handle_failure import handle_failure
from flows.relocate import relocate
from flows.sweep import sweep
from relocation.archive.keys import public_key_of
from relocation.example import example_archive, example_export
from relocation.ledger.relocations import find_relocation, list_relocations
from relocation.prefect_api.awaited import awaited_runs
from relocation.prefect_api.blocks import (
    load_destination,
    load_ledger,
    load_private_key,
    load_storage,
)
from relocation.prefect_api.deployments import deploy, missing_deployments
from relocation.prefect_api.flow_runs import RELOCATE, submit
from relocation.prefect_api.setup import set_up
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status
from relocation.transfer.load.accounts import add_users
from relocation.transfer.load.chunks import written_chunks


def ids() -> dict[str, str]:
    """Return the id of every deployment, automation and queue at the server, by name."""
    with get_client(sync_client=True) as client:
        found = {one.name: str(one.id) for one in client.read_deployments()}
        found |= {one.name: str(one.id) for one in client.read_automations()}
        found |= {one.name: str(one.id) for one in client.read_work_pools()}
        queues = client.read_work_queues()
    return found | {f"{one.work_pool_name}/{one.name}": str(one.id) for one in queues}


class Installations:
    """West has no name and was there first; whose turn it is, the environment says."""

    def __init__(self, patch: pytest.MonkeyPatch, homes: dict[str, Path]) -> None:
        self._patch = patch
        self._homes = homes

    def become(self, name: str) -> Settings:
        """Go on as an operator, or a worker, of this installation."""
        self._patch.setenv("RELOCATION_INSTALLATION", name)
        self._patch.setenv("RELOCATION_HOME", str(self._homes[name]))
        return Settings()

    def submit(self, name: str) -> str:
        """Submit an archive of its own to an installation; return the relocation's id."""
        settings = self.become(name)
        key = public_key_of(load_private_key(settings))
        archive = example_archive(example_export(organizations=1), key)
        load_storage(settings).write("archives/a.tar", archive)
        request = RelocationRequest(
            archive="archives/a.tar", organizations=["acme"], owner="olivia"
        )
        return submit(request, deployment=settings.named(RELOCATE))

    def work(self, name: str, relocation_id: str) -> None:
        """Run it as a worker of the installation does."""
        self.become(name)
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(relocation_id))
        run_flow(relocate, flow_run=run, return_type="state")

    def known(self, name: str) -> set[str]:
        """Return the relocations that the ledger of an installation has."""
        return {one.id for one in list_relocations(load_ledger(self.become(name)))}

    def awaited(self, name: str) -> set[str]:
        """Return what an installation's `list` shows beside its ledger."""
        self.become(name)
        return {one.id for one in awaited_runs()}

    def chunks(self, name: str, relocation_id: str) -> int:
        """Return how much of a relocation is in the destination of an installation."""
        return len(written_chunks(load_destination(self.become(name)), relocation_id))


@pytest.fixture(scope="module")
def both(
    private_key: str, begin: Begin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installations]:
    """West and east, set up on one server."""
    homes = {name: tmp_path_factory.mktemp("home") for name in ("", "east")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in begin.variables.items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))  # `prefect deploy` asks it
        # West has the blocks, the files and the inbox that every service of these tests has.
        homes[""] = Path(begin.variables["RELOCATION_HOME"])
        shutil.rmtree(homes[""])
        shutil.copytree(begin.template, homes[""])
        one = Installations(patch, homes)
        for name in homes:
            settings = one.become(name)
            set_up(settings, inbox_port=begin.mail_port)
            add_users(load_destination(settings), ("olivia",))
            deploy(settings)
        yield one
        with get_client(sync_client=True) as client:
            for deployment in client.read_deployments():
                client.delete_deployment(deployment.id)
            for automation in client.read_automations():
                client.delete_automation(automation.id)
            for pool in ("relocation", "relocation-east"):
                client.delete_work_pool(pool)


def test_what_is_deployed_has_a_name_for_each_and_keeps_its_id(both: Installations) -> None:
    before = ids()
    for name in ("relocate", "relocation", "No sweep has succeeded", "relocation/safety-net"):
        assert name in before
    for name in ("relocate-east", "relocation-east", "relocation-east/safety-net-east"):
        assert name in before
    assert "No sweep has succeeded (east)" in before
    deploy(both.become("east"))
    assert ids() == before
    assert missing_deployments(both.become("east")) == missing_deployments(both.become("")) == []


def test_each_automation_waits_for_the_runs_of_its_own_deployments(both: Installations) -> None:
    name = "A relocation ended without success"
    with get_client(sync_client=True) as client:
        for suffix, label in (("", ""), ("-east", " (east)")):
            wanted = client.read_deployment_by_name(f"relocate/relocate{suffix}").id
            handler = client.read_deployment_by_name(f"handle-failure/handle-failure{suffix}").id
            (automation,) = client.read_automations_by_name(f"{name}{label}")
            told = automation.model_dump(mode="json")
            related = told["trigger"]["match_related"]["prefect.resource.id"]
            assert related == [f"prefect.deployment.{wanted}"]
            assert told["actions"][0]["deployment_id"] == str(handler)


def test_each_relocates_into_its_own_destination_alone(both: Installations) -> None:
    mine, other = both.submit(""), both.submit("east")
    assert {mine, other} & both.awaited("") == {mine}
    assert {mine, other} & both.awaited("east") == {other}
    both.work("", mine)
    both.work("east", other)
    for name, own, foreign in (("", mine, other), ("east", other, mine)):
        stored = find_relocation(load_ledger(both.become(name)), own)
        assert stored is not None
        assert stored.status is Status.SUCCESS
        assert foreign not in both.known(name)
        assert both.chunks(name, own) > 0
        assert both.chunks(name, foreign) == 0


def test_a_run_that_nobody_settled_is_left_to_its_own_installation(both: Installations) -> None:
    run = both.submit("east")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run), Failed(message="by hand"), force=True)
    both.become("")
    sweep()
    handle_failure(run)  # by hand: its automation does not
    assert run not in both.known("")
    assert run not in both.known("east")
    both.become("east")
    sweep()
    stored = find_relocation(load_ledger(both.become("east")), run)
    assert stored is not None
    both.become("")
    sweep()
    assert run not in both.known("")


def test_a_run_carries_the_tag_and_the_environment_of_its_installation(both: Installations) -> None:
    run = both.submit("east")
    with get_client(sync_client=True) as client:
        which = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run)]))
        (stored,) = client.read_flow_runs(flow_run_filter=which)
        assert stored.deployment_id is not None
        deployment = client.read_deployment(stored.deployment_id)
    assert "relocation-east" in stored.tags
    assert "relocation" not in stored.tags
    assert deployment.job_variables == {"env": {"RELOCATION_INSTALLATION": "east"}}

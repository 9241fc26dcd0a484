"""prefect.yaml, automations.yaml and the files of the work pools are what Prefect takes."""

import asyncio
import json
import signal
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect
import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from prefect import Flow
from prefect._internal.infrastructure_exit_codes import (
    INFRASTRUCTURE_EXIT_HINTS,
    get_infrastructure_exit_info,
)
from prefect.client.schemas.objects import DeploymentSchedule, State
from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
    RRuleSchedule,
)
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import TerminationSignal
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Crashed, Failed, exception_to_crashed_state
from prefect.utilities.callables import parameter_schema

from relocation.errors import ConfigurationError
from relocation.prefect_api.automations import fill_in, wanted_automations
from relocation.prefect_api.deployments import deployment_file, merge_schedules
from relocation.prefect_api.pools import FIRST_QUEUE, pool_template
from relocation.settings import Settings

Metadata = dict[str, Any]
"""What a file of YAML or JSON says, by name."""

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
FILE: Metadata = yaml.safe_load(TEXT)
DEPLOYMENTS = {one["name"]: one for one in FILE["deployments"]}
AUTOMATIONS = yaml.safe_load((ROOT / "automations.yaml").read_text(encoding="utf-8"))
POOLS = sorted((ROOT / "pools").glob("*.yaml"))
SOME_ID = "0d8a1c8e-6f0c-4d0b-9a53-2f7d1f6a7e55"


def loaded(entrypoint: str) -> Flow[..., Any]:
    """Load a flow, which fails where it cannot be imported."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    return flow


@pytest.fixture(scope="module")
def worker_types() -> Metadata:
    """What Prefect knows of the workers of each type, as its server tells it offline."""
    views = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    known: Metadata = json.loads(
        (views / "aggregate-worker-metadata.json").read_text(encoding="utf-8")
    )
    return known


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_deployment_names_a_flow_that_loads(name: str) -> None:
    """`prefect deploy` alone ends well where a flow cannot be imported."""
    flow = loaded(DEPLOYMENTS[name]["entrypoint"])
    # Named when each relocation had a child flow `validate`, whose name is in the servers still.
    assert flow.name == {"validate": "validate-archive"}.get(name, name)


def test_prefect_takes_the_file_and_knows_every_word_of_it() -> None:
    """Prefect itself silently ignores what it does not know."""
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, RawScheduleConfig

    PrefectYamlModel.model_validate(FILE)
    assert FILE.keys() <= {"name", "pull", "definitions", "deployments"}
    for deployment in DEPLOYMENTS.values():
        assert deployment.keys() <= DeploymentConfig.model_fields.keys()
        for schedule in deployment.get("schedules", ()):
            RawScheduleConfig.model_validate(schedule)


def test_every_deployment_explains_itself_and_runs_on_our_pool() -> None:
    for deployment in DEPLOYMENTS.values():
        assert len(deployment["description"]) > 100
        assert deployment["tags"] == ["relocation"]
        assert deployment["work_pool"]["name"] == Settings().work_pool == "relocation"
        assert deployment["work_pool"].get("work_queue_name") in {None, FIRST_QUEUE}
        assert deployment["enforce_parameter_schema"] is True


def test_no_deployment_refers_to_a_block() -> None:
    """Prefect would store what the block holds in plain text."""
    for deployment in DEPLOYMENTS.values():
        assert "prefect.blocks" not in str(deployment)
        assert "$ref" not in str(deployment)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_parameter_is_described_with_an_example(name: str) -> None:
    flow = loaded(DEPLOYMENTS[name]["entrypoint"])
    schema = parameter_schema(flow).model_dump()
    forms = [schema, *schema["definitions"].values()]
    for form in forms:
        for parameter, field in form["properties"].items():
            if "$ref" not in field:
                assert field.get("description"), parameter
                assert field.get("examples") or "enum" in field, parameter


def test_no_relocation_is_deployed_with_a_schedule() -> None:
    assert "schedules" not in DEPLOYMENTS["relocate"]
    assert "olivia" not in TEXT


def test_the_schedule_that_the_docs_give_as_an_example_fits_the_deployment() -> None:
    from prefect.cli.deploy._models import RawScheduleConfig

    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    example = (
        page.partition("a schedule of your own")[2].partition("```yaml")[2].partition("```")[0]
    )
    (schedule,) = yaml.safe_load(example)["schedules"]
    RawScheduleConfig.model_validate(schedule)
    flow = loaded("flows.relocate.relocate")
    flow.validate_parameters(schedule["parameters"])


def _stored(
    schedule: SCHEDULE_TYPES,
    *,
    active: bool = True,
    slug: str | None = None,
    parameters: dict[str, Any] | None = None,
) -> DeploymentSchedule:
    return DeploymentSchedule(
        schedule=schedule, active=active, slug=slug, parameters=parameters or {}
    )


def test_schedules_that_only_the_server_has_are_kept_as_they_are() -> None:
    from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule

    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    present = [
        _stored(
            IntervalSchedule(interval=timedelta(minutes=5), anchor_date=anchor),
            active=True,
            slug="every-five-minutes",
        ),
        _stored(CronSchedule(cron="0 2 * * *", timezone="Europe/Berlin"), active=False),
        _stored(RRuleSchedule(rrule="FREQ=DAILY"), slug="daily", parameters={"relocation_id": "x"}),
    ]
    others, changes = merge_schedules(DEPLOYMENTS["sweep"]["schedules"], present)
    assert changes == []
    kept = [_schedule_config_to_deployment_schedule(one) for one in others]
    assert [one["schedule"] for one in kept] == [one.schedule for one in present[1:]]
    assert [one.get("active", True) for one in kept] == [False, True]
    assert kept[1]["slug"] == "daily"
    assert kept[1]["parameters"] == {"relocation_id": "x"}


@pytest.mark.parametrize(
    ("minutes", "active"), [(1, True), (5, False)], ids=["another interval", "switched off"]
)
def test_a_schedule_that_somebody_changed_is_told_of(minutes: int, active: bool) -> None:
    every = IntervalSchedule(interval=timedelta(minutes=minutes))
    present = [_stored(every, active=active, slug="every-five-minutes")]
    others, changes = merge_schedules(DEPLOYMENTS["sweep"]["schedules"], present)
    assert others == []
    assert changes == ['schedule "every-five-minutes"']


def test_a_relocation_over_the_limit_waits_and_is_never_cancelled() -> None:
    assert DEPLOYMENTS["relocate"]["concurrency_limit"]["collision_strategy"] == "ENQUEUE"


def _ids(wanted: dict[str, Any], settings: Settings | None = None) -> dict[str, Any]:
    """An automation as it is at a server whose deployments have their names as ids."""
    settings = settings or Settings()
    return fill_in(wanted, settings, deployment_id=lambda name: name, alerts=lambda: SOME_ID)


@pytest.mark.parametrize("automation", AUTOMATIONS, ids=lambda one: one["name"])
def test_prefect_takes_every_automation_and_knows_every_word_of_it(
    automation: dict[str, Any],
) -> None:
    filled = fill_in(
        automation, Settings(), deployment_id=lambda _name: SOME_ID, alerts=lambda: SOME_ID
    )
    read = AutomationCore.model_validate(filled)
    assert automation.keys() <= AutomationCore.model_fields.keys()
    assert automation["trigger"].keys() <= type(read.trigger).model_fields.keys()
    for action, given in zip(read.actions, filled["actions"], strict=True):
        assert given.keys() <= type(action).model_fields.keys()
    for matches in (filled["trigger"].get("match", {}), filled["trigger"].get("match_related", {})):
        assert all(word.startswith("prefect.") for word in matches)


@pytest.fixture
def east(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an installation that shares its server."""
    monkeypatch.setenv("RELOCATION_INSTALLATION", "east")
    return Settings()


def test_without_a_name_of_the_installation_the_file_is_applied_as_it_is() -> None:
    assert deployment_file(Settings())["deployments"] == list(DEPLOYMENTS.values())
    assert wanted_automations(Settings()) == AUTOMATIONS


def test_what_an_installation_deploys_ends_with_its_name(east: Settings) -> None:
    plain = DEPLOYMENTS.values()
    for one, before in zip(deployment_file(east)["deployments"], plain, strict=True):
        assert one["name"] == f"{before['name']}-east"
        assert one["entrypoint"] == before["entrypoint"], "a new flow would orphan paused runs"
        assert one["tags"] == ["relocation-east"]
        assert one["work_pool"]["name"] == "relocation-east"
        assert one["work_pool"].get("work_queue_name") in {None, "safety-net-east"}
        env = one["work_pool"]["job_variables"]["env"]
        assert env == {"RELOCATION_INSTALLATION": "east"}, "also on a machine of its own"


def test_the_automations_of_two_installations_share_neither_name_nor_match(east: Settings) -> None:
    mine = [_ids(one, east) for one in wanted_automations(east)]
    theirs = [_ids(one, Settings(installation="")) for one in AUTOMATIONS]
    for one, other in zip(mine, theirs, strict=True):
        assert one["name"] == f"{other['name']} (east)"
        assert one["actions"] != other["actions"] or "deployment_id" not in one["actions"][0]
        matched = [
            each["trigger"].get("match_related") or each["trigger"]["match"]
            for each in (one, other)
        ]
        assert matched[0] != matched[1]
    subjects = [one["actions"][0].get("subject", " (east)") for one in mine]
    assert all(subject.endswith(" (east)") for subject in subjects)


def test_every_end_without_success_leads_to_handle_failure() -> None:
    (one,) = [each for each in AUTOMATIONS if each["actions"][0].get("deployment")]
    states = {event.removeprefix("prefect.flow-run.") for event in one["trigger"]["expect"]}
    assert states == {"Failed", "TimedOut", "Crashed", "Cancelled"}
    assert one["actions"][0]["deployment"] == "handle-failure/handle-failure"


def _alarms(state: State[Any], deployment: str = "sweep/sweep") -> bool:
    """Say whether the operator is alarmed by a state of a run, by the server's own matching."""
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    (one,) = [each for each in AUTOMATIONS if "safety net" in each["name"]]
    trigger = EventTrigger.model_validate(_ids(one)["trigger"])
    run = {
        "prefect.resource.id": f"prefect.flow-run.{SOME_ID}",
        "prefect.state-message": state.message or "",
    }
    related = {
        "prefect.resource.id": f"prefect.deployment.{deployment}",
        "prefect.resource.role": "deployment",
    }
    event = ReceivedEvent(
        event=f"prefect.flow-run.{state.name}",
        resource=run,
        related=[related],
        id=uuid4(),
        occurred=datetime.now(UTC),
    )
    return trigger.covers(event)


def _exit(code: int) -> State[Any]:
    """What a worker reports of a run whose process ended so."""
    info = get_infrastructure_exit_info(code)
    return Crashed(message=f"Process exited with status code: {code}. {info.explanation}")


def test_a_safety_net_that_was_told_to_end_alarms_nobody() -> None:
    """In the words of the installed Prefect: of the run itself, and of its worker."""
    told = TerminationSignal(signal.SIGTERM)
    terminated = asyncio.run(exception_to_crashed_state(told))
    assert not _alarms(terminated)
    assert not _alarms(_exit(-signal.SIGTERM))


@pytest.mark.parametrize(
    "state",
    [
        *[_exit(code) for code in INFRASTRUCTURE_EXIT_HINTS if code not in {0, -15, 143}],
        Failed(message="Flow run encountered an exception: SettingError: no termination signal."),
        Failed(),
        Crashed(message="Execution was interrupted by an unexpected exception: OSError"),
    ],
    ids=lambda state: state.message,
)
def test_a_safety_net_that_ends_without_success_alarms_the_operator(state: State[Any]) -> None:
    assert _alarms(state)
    assert not _alarms(state, "relocate/relocate")
    assert not _alarms(state, "sweep/sweep-east")


def test_the_operator_is_alerted_when_three_sweeps_in_turn_did_not_succeed() -> None:
    (alert,) = [one for one in AUTOMATIONS if one["name"] == "No sweep has succeeded"]
    (schedule,) = DEPLOYMENTS["sweep"]["schedules"]
    assert alert["trigger"]["within"] == 3 * schedule["interval"]
    assert alert["trigger"]["expect"] == ["prefect.flow-run.Completed"]
    assert alert["trigger"]["match_related"] == {"deployment": ["sweep/sweep"]}


@pytest.mark.parametrize("file", POOLS, ids=lambda file: file.stem)
def test_the_settings_of_every_kind_of_pool_are_those_of_its_worker(
    file: Path, worker_types: Metadata
) -> None:
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    template = pool_template(settings, worker_types)
    assert settings["type"] == file.stem
    for name, value in settings["job_variables"].items():
        assert template["variables"]["properties"][name]["default"] == value


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"type": "boat"}, "docker"),
        ({"type": "docker", "jobs": {}}, "job_variables"),
        ({"type": "docker", "job_variables": {"imgae": "x"}}, "imgae"),
        ({"type": "docker", "job_variables": {"image_pull_policy": "Sometimes"}}, "pull_policy"),
        ({"type": "kubernetes", "job_variables": {"finished_job_ttl": "soon"}}, "finished_job"),
    ],
)
def test_a_pool_file_that_its_worker_would_refuse_is_refused(
    settings: dict[str, Any], told: str, worker_types: Metadata
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        pool_template(settings, worker_types)
    assert told in str(refused.value.internal)


def test_a_wheel_brings_everything_that_setup_applies(tmp_path: Path) -> None:
    """Beside the packages, as in a checkout: relocation.prefect_api.deployments looks there."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"prefect.yaml", "automations.yaml", "relocation/prefect_api/deployments.py"} <= names
    assert any(name.startswith("relocation/ledger/migrations/") for name in names)

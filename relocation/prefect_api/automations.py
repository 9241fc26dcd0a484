"""The automations of automations.yaml at the Prefect server, and whether they do their work."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import Automation, AutomationCore

from relocation.checkout import PROJECT
from relocation.errors import ConfigurationError
from relocation.prefect_api.blocks import block_id
from relocation.settings import Settings

_DEPLOYMENT = "deployment"
_POOL = "work-pool"
_BLOCK = "block"
_DEPLOYMENT_ID = re.compile(r'(?:"prefect\.deployment\.|"deployment_id":")([0-9a-f-]{36})"')


def apply_automations(settings: Settings) -> None:
    """Create or renew each automation under its own id; what a person disabled stays disabled.

    Idempotent. Raises ConfigurationError where the block of the alerts is missing.
    """
    with get_client(sync_client=True) as client:
        for wanted in wanted_automations(settings):
            filled = fill_in(
                wanted,
                settings,
                deployment_id=lambda name: client.read_deployment_by_name(name).id,
                alerts=lambda: _alerts(settings),
            )
            automation = AutomationCore.model_validate(filled)
            present: list[Automation] = client.read_automations_by_name(automation.name)
            if not present:
                client.create_automation(automation)
                continue
            automation.enabled = present[0].enabled
            client.update_automation(present[0].id, automation)


def automation_problems(settings: Settings) -> list[str]:
    """Return what keeps the automations of automations.yaml from doing their work."""
    found = []
    with get_client(sync_client=True) as client:
        deployments = {str(one.id) for one in client.read_deployments()}
        for wanted in wanted_automations(settings):
            present = client.read_automations_by_name(wanted["name"])
            if not present:
                found.append(f'"{wanted["name"]}" is not applied')
            elif not present[0].enabled:
                found.append(f'"{wanted["name"]}" was disabled')
            elif set(_DEPLOYMENT_ID.findall(present[0].model_dump_json())) - deployments:
                found.append(f'"{wanted["name"]}" is about a deployment that is gone')
    return found


def wanted_automations(settings: Settings) -> list[dict[str, Any]]:
    """Return what automations.yaml says, under this installation's names."""
    text = (PROJECT / "automations.yaml").read_text(encoding="utf-8")
    whose = f" ({settings.installation})" if settings.installation else ""
    return [
        {
            **one,
            "name": f"{one['name']}{whose}",
            "actions": [
                {**action, "subject": f"{action['subject']}{whose}"}
                if "subject" in action
                else action
                for action in one["actions"]
            ],
        }
        for one in yaml.safe_load(text)
    ]


def fill_in(
    wanted: dict[str, Any],
    settings: Settings,
    *,
    deployment_id: Callable[[str], object],
    alerts: Callable[[], object],
) -> dict[str, Any]:
    """Return an automation in Prefect's own form, with ids and names in the place of our words."""

    def id_of(deployment: str) -> str:
        flow, _, name = deployment.partition("/")
        return str(deployment_id(f"{flow}/{settings.named(name)}"))

    def match(words: dict[str, Any]) -> dict[str, Any]:
        rest = {name: one for name, one in words.items() if name not in {_DEPLOYMENT, _POOL}}
        if _DEPLOYMENT in words:
            ids = [f"prefect.deployment.{id_of(name)}" for name in words[_DEPLOYMENT]]
            rest |= {"prefect.resource.id": ids, "prefect.resource.role": "deployment"}
        if _POOL in words:
            rest["prefect.resource.name"] = settings.named(words[_POOL])
        return rest

    def act(action: dict[str, Any]) -> dict[str, Any]:
        rest = {name: one for name, one in action.items() if name not in {_DEPLOYMENT, _BLOCK}}
        if _DEPLOYMENT in action:
            rest["deployment_id"] = id_of(action[_DEPLOYMENT])
        if _BLOCK in action:
            rest["block_document_id"] = alerts()
        return rest

    trigger = wanted["trigger"]
    matches = {name: match(trigger[name]) for name in ("match", "match_related") if name in trigger}
    return {
        **wanted,
        "trigger": {**trigger, **matches},
        "actions": [act(action) for action in wanted["actions"]],
    }


def _alerts(settings: Settings) -> UUID:
    found = block_id(settings.alert_block)
    if found is None:
        raise ConfigurationError(
            "The relocation service is not fully set up.",
            internal=f'the block "{settings.alert_block}" does not exist',
        )
    return found

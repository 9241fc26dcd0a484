"""From one real Sentry, live, through Prefect into another one; then people go on with their work.

All keys of the destination are other ones than those of the source.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect_database import prefect_harness
from real_sentry import RealServers
from real_world import OWNER, PASSWORD, SOURCE, World
from sqlalchemy import text

from flows.relocate import relocate
from relocation.ledger.relocations import list_relocations
from relocation.local.inbox import Inbox
from relocation.local.processes import free_port
from relocation.prefect_api.blocks import load_ledger
from relocation.prefect_api.setup import set_up
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import Status

BEN = "ben@example.org"
TARGET = "elsewhere"
FAR_AWAY = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 5000)
    FROM pg_sequences WHERE schemaname = 'public'
"""
READER = """
    CREATE ROLE reader LOGIN PASSWORD 'only-reads';
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader
"""


@pytest.fixture(scope="module")
def prefect_server(migrated_prefect: Path) -> Iterator[None]:
    """A Prefect server of this process's own."""
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect_harness(migrated_prefect), temporary_settings(quiet):
        yield


@dataclass(frozen=True)
class Arrived:
    """The destination after the run, and the mails that were sent."""

    world: World
    mails: dict[str, str]
    """The text of each mail, by recipient and first word of its subject."""

    def ask(self, question: str, **given: object) -> Any:
        return self.world.ask(TARGET, question, **given)

    def call(self, method: str, path: str, body: object = None, *, of: str = BEN) -> Any:
        """Return what the product's API answers to a member; it must be content."""
        said = self.ask("call", username=of, method=method, path=path, body=body)
        assert said["status"] in {200, 201}, (method, path, said)
        return said["json"]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.world.query(TARGET, sql)


@pytest.fixture
def arrived(
    servers: RealServers,
    world: World,
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Arrived:
    """Have Prefect's flow move the organization out of the live source."""
    servers.copy("sentry", TARGET)
    with world.engine(TARGET).begin() as connection:
        connection.execute(text(FAR_AWAY))
    with world.engine(SOURCE).begin() as connection:
        connection.execute(text(READER))
    world.ask(TARGET, "person", username=OWNER, password=PASSWORD)
    world.ask(TARGET, "drain")
    for name, value in {"HOME": str(tmp_path / "home"), "BACKOFF": "0"}.items():
        monkeypatch.setenv(f"RELOCATION_{name}", value)
    monkeypatch.setenv("RELOCATION_CLAIM_LINK_HOURS", "48")
    settings, port = Settings(), free_port()
    reader = servers.url(SOURCE).set(username="reader", password="only-reads")
    urls = {"destination": servers.url(TARGET), "source": reader}
    blocks = {
        role: {"url": url.render_as_string(hide_password=False)} for role, url in urls.items()
    }
    set_up(settings, inbox_port=port, fields=blocks)
    request = RelocationRequest(source="relocation-source", organizations=["acme"], owner=OWNER)
    with Inbox(tmp_path / "inbox", port) as inbox:
        relocate(request, return_state=True)
        [relocation] = list_relocations(load_ledger(settings))
        assert relocation.status is Status.SUCCESS, relocation.internal_error or relocation.reason
        mails = {
            str(mail.message["To"]): mail.path.with_suffix(".txt").read_text()
            for mail in inbox.messages()
        }
    world.ask(TARGET, "drain")
    return Arrived(world, mails)


def claim(arrived: Arrived) -> None:
    """Set a password by the link in the mail, as its reader does."""
    found = re.search(r"/account/recover/confirm/(\d+)/(\w{32})/", arrived.mails[BEN])
    assert found is not None
    answers = arrived.ask("claim", user_id=int(found[1]), token=found[2], password=PASSWORD)
    assert answers == [200, 302, [302, True]], "opened, set, logged in"


def test_members_go_on_with_their_work_where_a_live_product_was_moved(arrived: Arrived) -> None:
    claim(arrived)
    for path in ("/organizations/acme/issues/", "/organizations/acme/projects/web/"):
        assert arrived.world.page(TARGET, BEN, path) == 200
    project = arrived.call("get", "/api/0/projects/acme/web/")
    assert project["isMember"]
    [(team,)] = arrived.query("SELECT id FROM sentry_team WHERE slug = 'core'")
    assert min(int(project["id"]), team) > 5000, "no id is the one that the source has"

    [rule] = arrived.call("get", "/api/0/projects/acme/web/rules/")
    [action] = rule["actions"]
    assert (action["targetType"], action["targetIdentifier"]) == ("Team", team)
    names = ("owner", "actions", "conditions", "actionMatch", "filterMatch", "frequency")
    saved = {name: rule[name] for name in names} | {"name": "By Ben"}
    path = f"/api/0/projects/acme/web/rules/{rule['id']}/"
    assert arrived.call("put", path, saved)["name"] == "By Ben"
    new = arrived.call("post", "/api/0/projects/acme/web/rules/", saved | {"name": "Another"})
    assert new["owner"] == f"team:{team}"

    assert [status for status, _ in arrived.ask("subscribe")] == [0], "the moved alert watches"
    trigger = {"label": "critical", "alertThreshold": 50, "actions": []}
    alert = {
        "name": "Far too many",
        "aggregate": "count()",
        "query": "",
        "dataset": "events",
        "timeWindow": 10,
        "thresholdType": 0,
        "owner": f"team:{team}",
        "projects": ["web"],
        "triggers": [trigger],
    }
    arrived.call("post", "/api/0/projects/acme/web/alert-rules/", alert)
    alerts = arrived.call("get", "/api/0/organizations/acme/alert-rules/?project=-1")
    assert {one["name"] for one in alerts} == {"Too many", "Far too many"}

    invited = arrived.ask("invite", slug="acme")
    assert (invited["status"], invited["json"]["orgSlug"]) == (200, "acme")
    for (key,) in arrived.query("SELECT public_key FROM sentry_projectkey WHERE project_id > 5000"):
        assert arrived.ask("resolve", public_key=key) == ["web", "acme", True]
    assert arrived.ask("dangling") == {}

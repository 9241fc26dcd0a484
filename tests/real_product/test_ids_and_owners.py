"""What a real Sentry says of ids inside values, and of owners, where all keys are other ones.

The organization that was moved into the target once is moved there again: nothing of the second
copy has a key that the export has, and all keys of the export are somebody else's.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from real_world import OWNER, PASSWORD, World

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import read_records
from relocation.archive.storage import FolderStorage
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import (
    grant_ownership,
    moved_organizations,
    reveal_organizations,
)
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import scan_export


@dataclass(frozen=True)
class Again:
    """The second copy of the organization."""

    world: World
    database: str
    slug: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.world.query(self.database, sql)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Answer as the product's API does to the owner."""
        given = {"username": OWNER, "method": method, "path": path, "body": body}
        return self.world.ask(self.database, "call", **given)

    @property
    def team(self) -> int:
        [(team,)] = self.query(
            "SELECT t.id FROM sentry_team t JOIN sentry_organization o ON o.id = t.organization_id"
            f" WHERE o.slug = '{self.slug}'"
        )
        return int(team)


@pytest.fixture(scope="module")
def again(world: World) -> Again:
    """A second copy of the organization in one destination."""
    assert world.moved is not None
    database, relocation_id = world.copy(world.untouched), str(uuid.uuid4())
    key, storage = create_private_key(2048), FolderStorage(world.folder / "again")
    with world.moved.export.open("rb") as file:
        scan_export(
            read_records(file),
            wanted=["acme"],
            max_organizations=20,
            max_users=2000,
            storage=storage,
            prefix="export",
            public_pem=public_key_of(key),
        )
    engine = world.engine(database)
    bind(engine, relocation_id, 1)
    source = open_normalised(storage, "export", key)
    import_records(engine, source, relocation_id=relocation_id, fence=1)
    grant_ownership(engine, relocation_id, 1, OWNER)
    reveal_organizations(engine, relocation_id, 1)
    [moved] = moved_organizations(engine, relocation_id)
    there = Again(world, database, moved.slug)
    assert world.ask(database, "login", username=OWNER, password=PASSWORD)[1]
    return there


def the_rule(again: Again) -> dict[str, Any]:
    said = again.call("get", f"/api/0/projects/{again.slug}/web/rules/")
    [rule] = [one for one in said["json"] if one["name"] == "Tell the team"]
    return dict(rule)


def test_its_rule_notifies_its_own_team_and_can_be_saved(again: Again, world: World) -> None:
    old = json.loads(world.moved.export.read_text()) if world.moved else []
    [core] = [
        one["pk"]
        for one in old
        if one["model"] == "sentry.team" and one["fields"]["slug"] == "core"
    ]
    assert again.team != core
    rule = the_rule(again)
    [action] = rule["actions"]
    assert (action["targetType"], action["targetIdentifier"]) == ("Team", again.team)
    names = ("name", "owner", "actions", "conditions", "actionMatch", "filterMatch", "frequency")
    path = f"/api/0/projects/{again.slug}/web/rules/{rule['id']}/"
    said = again.call("put", path, {name: rule[name] for name in names})
    assert said["status"] == 200, said


def test_its_rule_and_its_alert_are_owned_by_its_own_team(again: Again) -> None:
    assert the_rule(again)["owner"] == f"team:{again.team}"
    said = again.call("get", f"/api/0/organizations/{again.slug}/alert-rules/?project=-1")
    assert [one["owner"] for one in said["json"]] == [f"team:{again.team}"]


def test_every_team_has_the_actor_that_stands_for_it(again: Again) -> None:
    wrong = (
        "SELECT count(*) FROM sentry_team t LEFT JOIN sentry_actor a ON a.id = t.actor_id"
        " WHERE a.team_id IS DISTINCT FROM t.id"
    )
    assert again.query(wrong) == [(0,)]

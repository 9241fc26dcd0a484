"""What a real Sentry says of an organization that was moved out of one and into another.

The source, its export, the pages, the jobs and the deletion are the product's own.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from real_world import OWNER, PASSWORD, SOURCE, TARGET, Moved, World

from relocation.catalogue import Scope
from relocation.errors import CommandError
from relocation.findings import FindingKind
from relocation.transfer.database.exporting import export_records
from relocation.transfer.dry_run.comparing_files import compare_files
from relocation.transfer.load.mappings import mapping_findings
from relocation.transfer.load.ownership import mappings_of
from relocation.transfer.load.rollback import roll_back

BEN = "ben@example.org"
PAGES = (
    "/organizations/acme/issues/",
    "/organizations/acme/projects/",
    "/settings/acme/",
    "/settings/acme/teams/",
    "/settings/acme/projects/web/keys/",
)
API = (
    "/api/0/organizations/acme/",
    "/api/0/organizations/acme/projects/",
    "/api/0/organizations/acme/members/",
    "/api/0/organizations/acme/teams/",
    "/api/0/organizations/acme/dashboards/",
    "/api/0/organizations/acme/monitors/",
    "/api/0/organizations/acme/alert-rules/",
    "/api/0/projects/acme/web/",
    "/api/0/projects/acme/web/keys/",
    "/api/0/projects/acme/web/rules/",
)


def test_the_trial_in_the_real_schema_finds_no_difference(moved: Moved) -> None:
    assert moved.trial.findings == ()


def test_every_record_of_the_organization_arrives(moved: Moved) -> None:
    models = {"rule", "alertrule", "monitor", "dashboard", "projectkey", "querysubscription"}
    assert {f"sentry.{one}" for one in models} <= moved.selected.keys()
    inserted = {model: one.inserted + one.merged for model, one in moved.report.accounts.items()}
    assert inserted == moved.selected
    assert [one for one in moved.report.findings if one.kind is FindingKind.LOST_REFERENCE] == []


def test_an_address_is_read_out_of_its_own_type(world: World) -> None:
    """sentry_userip.ip_address is inet there."""
    records = export_records(world.engine(SOURCE), scope=Scope.GLOBAL)
    addresses = {one.fields["ip_address"] for one in records if one.model == "sentry.userip"}
    assert "2001:db8::7" in addresses


def test_every_row_loads_and_is_as_valid_as_in_the_source(world: World) -> None:
    source, target = world.ask(SOURCE, "validate"), world.ask(TARGET, "validate")
    assert target["loaded"]["sentry_rule"] >= 1
    assert target["said"].keys() <= source["said"].keys()


def test_no_reference_dangles(world: World) -> None:
    assert world.ask(TARGET, "dangling") == {}


def test_a_new_row_can_be_added_to_every_table_that_was_touched(world: World, moved: Moved) -> None:
    touched = sorted(set(world.rows(TARGET)) - {"relocation_fence", "relocation_import_chunk"})
    assert {"sentry_rule", "auth_user", "sentry_organizationmember"} <= set(touched)
    assert world.ask(TARGET, "add_rows", tables=touched) == {}


def test_the_product_makes_every_mapping_it_was_asked_for(world: World, moved: Moved) -> None:
    assert mapping_findings(world.engine(TARGET)) == []
    count = mappings_of(world.engine(TARGET), moved.id)
    assert count is not None
    assert (count.needed, count.made) == (moved.asked_for, moved.asked_for)
    assert moved.asked_for == 1 + 3 + 1, "the organization, two members, an invitation, the owner"


@pytest.fixture(scope="module")
def ben(world: World) -> str:
    """An ordinary member who has claimed the account by the link of the mail."""
    assert world.moved is not None
    [claim] = [one for one in world.moved.claims if one.username == BEN]
    answers = world.ask(
        TARGET, "claim", user_id=claim.user_id, token=claim.token, password=PASSWORD
    )
    assert answers == [200, 302, [302, True]], "opened, set, logged in"
    return BEN


def log_in(world: World, username: str, database: str = TARGET) -> str:
    assert world.ask(database, "login", username=username, password=PASSWORD)[1]
    return username


@pytest.mark.parametrize("path", [*PAGES, *API])
def test_an_ordinary_member_can_open(world: World, ben: str, path: str) -> None:
    log_in(world, ben)
    assert world.page(TARGET, ben, path) == 200


def test_who_is_no_member_cannot_open_it(world: World) -> None:
    assert world.page(TARGET, "", PAGES[0]) == 302
    assert world.page(TARGET, "", API[0]) == 401


def test_a_rule_a_dashboard_and_a_team_can_be_saved(world: World) -> None:
    owner = log_in(world, OWNER)

    def call(method: str, path: str, body: object = None) -> Any:
        said = world.ask(TARGET, "call", username=owner, method=method, path=path, body=body)
        assert said["status"] in {200, 201}, said
        return said["json"]

    team = call("get", "/api/0/organizations/acme/teams/")[0]
    [dashboard] = [one for one in call("get", API[4]) if one["id"] != "default-overview"]
    path = f"/api/0/organizations/acme/dashboards/{dashboard['id']}/"
    assert call("put", path, {"title": "Renamed"})["title"] == "Renamed"
    assert call("put", f"/api/0/teams/acme/{team['slug']}/", {"name": "New"})["name"] == "New"
    [rule] = call("get", "/api/0/projects/acme/web/rules/")
    rule["name"] = "Tell the team again"
    action = {"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"}
    saved = {name: rule[name] for name in ("name", "actionMatch", "filterMatch", "frequency")}
    saved |= {"conditions": rule["conditions"], "actions": [action], "filters": []}
    said = call("put", f"/api/0/projects/acme/web/rules/{rule['id']}/", saved)
    assert said["name"] == "Tell the team again"


def test_an_invitation_works(world: World) -> None:
    said = world.ask(TARGET, "invite", slug="acme")
    assert said["status"] == 200
    assert said["json"]["orgSlug"] == "acme"


def test_every_dsn_resolves(world: World) -> None:
    keys = world.query(
        TARGET,
        "SELECT public_key FROM sentry_projectkey k JOIN sentry_project p ON p.id = k.project_id "
        "WHERE p.slug = 'web'",
    )
    assert len(keys) >= 2
    for (key,) in keys:
        assert world.ask(TARGET, "resolve", public_key=key) == ["web", "acme", True]


def test_the_product_creates_the_query_of_every_metric_alert(world: World) -> None:
    subscriptions = world.query(
        TARGET, "SELECT id, status, subscription_id FROM sentry_querysubscription ORDER BY id"
    )
    assert [row[1:] for row in subscriptions] == [(1, None)]
    assert world.ask(TARGET, "stuck_subscriptions") == [row[0] for row in subscriptions]


def comparable(export: Path, *, without: str) -> list[dict[str, Any]]:
    """Return the records of an export that a moved organization has too.

    One person is in the target alone; addresses of sign-ins and the actors that stand for people
    do not come along: the product makes them when it needs them.
    """
    records = json.loads(export.read_text())
    names = ([without], without)
    mine = [one["pk"] for one in records if one["fields"].get("username") == without]
    return [
        one
        for one in records
        if one["model"] != "sentry.userip"
        and not (one["model"] == "sentry.actor" and one["fields"]["team"] is None)
        and not any(value in names for value in one["fields"].values())
        and one["fields"].get("user_id", one["fields"].get("user")) not in mine
    ]


def test_the_real_way_out_differs_only_in_what_must(world: World, moved: Moved) -> None:
    """Out of a real product, into one, out again: compared as `relocation compare` does."""
    exported = world.folder / "out.json"
    world.servers.sentry("export", exported, database=world.copy(world.untouched))
    sides = [world.folder / "before.json", world.folder / "after.json"]
    for side, export in zip(sides, (moved.export, exported), strict=True):
        side.write_text(json.dumps(comparable(export, without=OWNER)))
    compared = compare_files(*sides, private_pem=None)
    assert compared.left == compared.right, "as many of each model, so that all were compared"
    assert sum(compared.left.values()) > 40
    assert {(one.model, one.field) for one in compared.findings} == {
        ("sentry.user", "password"),  # to be claimed
        ("sentry.querysubscription", "date_updated"),  # to be created anew
        ("sentry.querysubscription", "status"),
        ("sentry.querysubscription", "subscription_id"),
    }


def test_the_product_can_delete_it(world: World) -> None:
    copy = world.copy()
    assert world.ask(copy, "delete", slug="acme") == 0
    left = world.ask(copy, "dangling")
    left.pop("sentry_auditlogentry.organization_id", None)  # it remembers what is gone
    assert left == {}


def test_a_later_upgrade_runs(world: World) -> None:
    copy = world.copy()
    world.servers.sentry("upgrade", "--noinput", database=copy)
    assert world.query(copy, "SELECT count(*) FROM sentry_organization WHERE slug = 'acme'") == [
        (1,)
    ]


def test_a_roll_back_takes_what_the_product_made_and_leaves_all_else(
    world: World, moved: Moved
) -> None:
    copy = world.copy(world.untouched)
    assert world.rows(copy)["sentry_organizationmembermapping"] > 3
    roll_back(world.engine(copy), moved.id, 1, revealed=True)
    after = world.rows(copy)
    unlike = {
        table: (moved.before.get(table), after.get(table))
        for table in (moved.before.keys() | after.keys()) - {"relocation_fence"}
        if moved.before.get(table) != after.get(table)
    }
    assert unlike == {}


def test_what_a_person_made_of_it_stops_a_roll_back(world: World, moved: Moved) -> None:
    copy = world.copy(world.untouched)
    owner = log_in(world, OWNER, copy)
    made = world.ask(
        copy,
        "call",
        username=owner,
        method="post",
        path="/api/0/organizations/acme/teams/",
        body={"slug": "brand-new"},
    )
    assert made["status"] == 201
    before = world.rows(copy)
    with pytest.raises(CommandError, match="Other records refer to"):
        roll_back(world.engine(copy), moved.id, 1, revealed=True)
    assert world.rows(copy) == before

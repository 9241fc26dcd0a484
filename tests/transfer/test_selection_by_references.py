"""Which records belong to the wanted organizations."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.findings import FindingKind
from relocation.transfer.prepare.left_out import LeftOut
from relocation.transfer.prepare.selection import Selection


def record(model: str, pk: int, **fields: object) -> Record:
    return Record(model if "." in model else f"sentry.{model}", pk, fields)


TWO_ORGANIZATIONS = [
    record("organization", 1, slug="acme", name="Acme"),
    record("organization", 2, slug="other", name="Other"),
    record("user", 11, username="olivia", email="Olivia@Example.org"),
    record("user", 12, username="oscar", email="oscar@example.org"),
    record("organizationmember", 21, organization=1, user_id=11),
    record("organizationmember", 22, organization=2, user_id=12),
    record("project", 31, organization=1),
    record("project", 32, organization=2),
]


def selected(records: Iterable[Record], *slugs: str) -> dict[str, set[int]]:
    """Return the pks selected of each model."""
    selection = Selection()
    pks: dict[str, list[int]] = {}
    for item in records:
        if selection.add(item):
            pks.setdefault(item.model, []).append(item.pk)
    flags = selection.choose(slugs, LeftOut()).flags
    return {
        model.removeprefix("sentry."): {
            pk for pk, flag in zip(pks[model], flags[model], strict=True) if flag
        }
        for model in pks
    }


def chosen(*extra: Record) -> dict[str, set[int]]:
    return selected([*TWO_ORGANIZATIONS, *extra], "acme")


def test_only_the_wanted_organization_and_its_tree_belong() -> None:
    """I-41, A-39."""
    assert chosen() == {
        "organization": {1},
        "user": {11},
        "organizationmember": {21},
        "project": {31},
    }


def test_no_wanted_slug_selects_nothing() -> None:
    """I-42."""
    assert not any(selected(TWO_ORGANIZATIONS).values())


def test_slugs_match_exactly() -> None:
    """W-12."""
    for slug in ("acm", "acmee", "Acme", ""):
        assert not any(selected(TWO_ORGANIZATIONS, slug).values())


def test_what_was_selected_is_named() -> None:
    selection = Selection()
    for item in TWO_ORGANIZATIONS:
        selection.add(item)
    result = selection.choose({"acme", "other"}, LeftOut())
    assert [found.slug for found in result.organizations] == ["acme", "other"]
    assert [(found.pk, found.name) for found in result.organizations] == [(1, "Acme"), (2, "Other")]
    assert result.usernames == ("olivia", "oscar")


def test_members_without_an_account_select_no_user() -> None:
    """I-41: invited members have no user id."""
    result = chosen(record("organizationmember", 23, organization=1, user_id=None))
    assert result["organizationmember"] == {21, 23}
    assert result["user"] == {11}


def test_a_record_between_two_organizations_is_not_requested() -> None:
    result = chosen(
        record("team", 41, organization=1),
        record("team", 42, organization=2),
        record("projectteam", 51, project=31, team=41),
        record("projectteam", 52, project=31, team=42),
        record("projectteam", 53, project=32, team=41),
        record("projectteam", 54, project=32, team=42),
    )
    assert result["projectteam"] == {51}


def test_references_to_users_do_not_decide() -> None:
    result = chosen(
        record("dashboard", 41, organization=1, created_by_id=12),
        record("dashboard", 42, organization=1, created_by_id=999),
        record("dashboard", 43, organization=2, created_by_id=11),
    )
    assert result["dashboard"] == {41, 42}
    assert result["user"] == {11}


def test_null_and_dangling_references_do_not_decide() -> None:
    result = chosen(
        record("project", 33, organization=1, template=None),
        record("project", 34, organization=1, template=999),
        record("project", 35, organization=999, template=None),
        record("projectkey", 41, project=35),
    )
    assert result["project"] == {31, 33, 34}
    assert result["projectkey"] == set()


def test_emails_belong_by_the_addresses_of_selected_users() -> None:
    """E-5: whatever their case; an empty address is nobody's."""
    result = chosen(
        record("user", 13, username="proxy", email=""),
        record("organizationmember", 23, organization=1, user_id=13),
        record("useremail", 41, user=11, email="olivia@private.example.org"),
        record("useremail", 42, user=12, email="oscar@private.example.org"),
        record("email", 51, email="olivia@example.ORG"),
        record("email", 52, email="OLIVIA@private.example.org"),
        record("email", 53, email="oscar@example.org"),
        record("email", 54, email="oscar@private.example.org"),
        record("email", 55, email=""),
    )
    assert result["useremail"] == {41}
    assert result["email"] == {51, 52}


def test_an_option_belongs_with_its_user_organization_and_project() -> None:
    result = chosen(
        record("useroption", 41, user=11, organization_id=None, project_id=None),
        record("useroption", 42, user=11, organization_id=1, project_id=None),
        record("useroption", 43, user=11, organization_id=None, project_id=31),
        record("useroption", 44, user=11, organization_id=2, project_id=None),
        record("useroption", 45, user=11, organization_id=None, project_id=32),
        record("useroption", 46, user=11, organization_id=1, project_id=999),
        record("useroption", 47, user=12, organization_id=1, project_id=None),
        record("useroption", 48, user=None, organization_id=1, project_id=None),
    )
    assert result["useroption"] == {41, 42, 43}


@pytest.mark.parametrize(
    "referrer",
    [
        record("querysubscription", 61, project=31, snuba_query=41),
        record("alertrule", 61, organization=1, snuba_query=41),
    ],
    ids=lambda referrer: referrer.model,
)
def test_a_snuba_query_belongs_with_what_refers_to_it(referrer: Record) -> None:
    """E-5; what refers to the query follows."""
    result = chosen(
        record("snubaquery", 41, environment=None),
        record("snubaquery", 42, environment=None),
        record("snubaqueryeventtype", 51, snuba_query=41),
        record("snubaqueryeventtype", 52, snuba_query=42),
        referrer,
        record("querysubscription", 62, project=32, snuba_query=42),
    )
    assert result["snubaquery"] == {41}
    assert result["snubaqueryeventtype"] == {51}


def test_a_snuba_query_belongs_with_its_environment() -> None:
    result = chosen(
        record("environment", 41, organization_id=1),
        record("environment", 42, organization_id=2),
        record("snubaquery", 51, environment=41),
        record("snubaquery", 52, environment=42),
        record("querysubscription", 61, project=31, snuba_query=52),
    )
    assert result["snubaquery"] == {51}
    assert result["querysubscription"] == set()  # its query is of another organization


def test_an_alert_rule_without_an_organization_belongs_with_what_hangs_on_it() -> None:
    result = chosen(
        record("snubaquery", 41, environment=None),
        record("snubaquery", 42, environment=None),
        record("snubaquery", 43, environment=None),
        record("alertrule", 51, organization=None, snuba_query=41),
        record("alertrule", 52, organization=None, snuba_query=42),
        record("alertrule", 53, organization=None, snuba_query=43),
        record("alertrule", 54, organization=None, snuba_query=None),
        record("querysubscription", 61, project=31, snuba_query=41),
        record("alertruleprojects", 71, alert_rule=52, project=31),
        record("alertruleprojects", 72, alert_rule=53, project=32),
        record("alertruletrigger", 81, alert_rule=51),
        record("alertruletrigger", 82, alert_rule=52),
        record("alertruletrigger", 83, alert_rule=53),
    )
    assert result["alertrule"] == {51, 52}
    assert result["snubaquery"] == {41, 42}
    assert result["alertruletrigger"] == {81, 82}


def test_what_nothing_leads_to_is_not_requested() -> None:
    result = chosen(
        record("savedsearch", 41, organization=None, owner_id=11),
        record("savedsearch", 42, organization=1, owner_id=None),
        record("rulesnooze", 51, rule=None, alert_rule=None, user_id=11),
    )
    assert result["savedsearch"] == {42}
    assert result["rulesnooze"] == set()


def test_detectors_and_conditions_belong_by_project_and_group() -> None:
    detector, condition = "workflow_engine.detector", "workflow_engine.datacondition"
    group = "workflow_engine.dataconditiongroup"
    result = chosen(
        record(group, 41, organization=1),
        record(group, 42, organization=2),
        record(detector, 51, organization=None, project=31),
        record(detector, 52, organization=None, project=32),
        record(condition, 61, condition_group=41),
        record(condition, 62, condition_group=42),
    )
    assert result[detector] == {51}
    assert result[condition] == {61}


def test_what_hangs_on_an_excluded_record_is_out_of_scope() -> None:
    """S-4: the projects of an action follow it."""
    selection = Selection()
    for item in TWO_ORGANIZATIONS:
        selection.add(item)
    selection.add(record("notificationactionproject", 51, action=41, project=31))
    selection.add(record("notificationactionproject", 52, action=42, project=31))
    selection.add(record("notificationaction", 42, organization=1))
    selection.exclude("sentry.notificationaction", 41)
    left_out = LeftOut()
    result = selection.choose({"acme"}, left_out)
    assert result.flags["sentry.notificationactionproject"] == bytes([0, 1])
    told = left_out.as_json()
    assert told["sentry.notificationactionproject"] == {FindingKind.OUT_OF_SCOPE: "51"}
    assert list(told["sentry.project"]) == [FindingKind.NOT_REQUESTED]


def test_a_rule_that_may_be_another_tenant_s_does_not_come_by_a_shared_query() -> None:
    """Rule 82 shares a query with a rule of theirs; rule 83 is for a project of theirs."""
    found = chosen(
        record("snubaquery", 71),
        record("snubaquery", 72),
        record("snubaqueryeventtype", 75, snuba_query=71),
        record("alertrule", 80, organization=1, snuba_query=71),
        record("alertrule", 81, organization=2, snuba_query=71),
        record("alertrule", 82, organization=None, snuba_query=71),
        record("alertrule", 83, organization=None, snuba_query=72),
        record("querysubscription", 85, project=31, snuba_query=72),
        record("alertruleprojects", 91, alert_rule=83, project=32),
    )
    assert found["snubaquery"] == {71, 72}
    assert found["snubaqueryeventtype"] == {75}
    assert found["alertrule"] == {80}
    assert found["alertruleprojects"] == set()


def test_a_second_record_with_the_same_pk_is_refused() -> None:
    selection = Selection()
    assert selection.add(record("project", 1, organization=1))
    assert not selection.add(record("project", 1, organization=2))
    assert selection.add(record("team", 1, organization=1))


def test_natural_keys_lead_to_users_wherever_these_stand() -> None:
    """T-13."""
    result = selected(
        [
            record("organizationmember", 21, organization=1, user_id=["olivia"]),
            record("organizationmember", 22, organization=2, user_id=["oscar"]),
            record("organizationmember", 23, organization=1, user_id=["stranger"]),
            record("useremail", 41, user=["olivia"], email="o@example.org"),
            record("useremail", 42, user=["oscar"], email="x@example.org"),
            record("user", 11, username="olivia"),
            record("user", 12, username="oscar"),
            record("organization", 1, slug="acme"),
            record("organization", 2, slug="other"),
        ],
        "acme",
    )
    assert result["user"] == {11}
    assert result["useremail"] == {41}
    assert result["organizationmember"] == {21, 23}


def test_natural_keys_are_resolved_for_every_reference_to_a_user() -> None:
    """T-13: of two users with one name the lower pk counts, whatever their order."""
    selection = Selection()
    selection.add(record("user", 15, username="olivia"))
    selection.add(record("user", 11, username="olivia"))
    selection.add(record("user", 12, username="oscar"))
    selection.add(record("dashboard", 1, organization=1, created_by_id=["olivia"]))
    selection.add(record("dashboard", 2, organization=1, created_by_id=["stranger"]))
    selection.add(record("dashboard", 3, organization=1, created_by_id=["a", "b"]))
    assert selection.natural_keys() == {"olivia": 11}


# Models with the references that the property test draws for them, in any dependency.
SHAPES = {
    "sentry.team": ["organization"],
    "sentry.project": ["organization", "template"],
    "sentry.projecttemplate": ["organization"],
    "sentry.environment": ["organization_id"],
    "sentry.organizationmember": ["organization", "user_id"],
    "sentry.user": [],
    "sentry.useroption": ["user", "organization_id", "project_id"],
    "sentry.projectteam": ["project", "team"],
    "sentry.snubaquery": ["environment"],
    "sentry.querysubscription": ["project", "snuba_query"],
    "sentry.alertrule": ["organization", "snuba_query", "team", "user_id"],
    "sentry.alertruleprojects": ["alert_rule", "project"],
    "sentry.alertruleactivity": ["alert_rule", "previous_alert_rule"],
}
CATALOGUE = load_catalogue()
TREE = {model.name for model in CATALOGUE.values() if Scope.ORGANIZATION in model.scopes}


@st.composite
def exports(draw: st.DrawFn) -> list[Record]:
    """Draw records of two or three organizations, with null and dangling references among them."""
    records = [
        record("organization", pk, slug=f"org{pk}", name="")
        for pk in range(1, draw(st.integers(2, 3)) + 1)
    ]
    reference = st.one_of(st.none(), st.integers(1, 5))
    for model, fields in SHAPES.items():
        for pk in range(1, draw(st.integers(0, 4)) + 1):
            values = {field: draw(reference) for field in fields}
            records.append(Record(model, pk, values | {"username": f"user{pk}"}))
    return records


@settings(deadline=None)
@given(records=exports())
def test_a_selection_refers_to_nothing_in_the_file_that_is_not_selected(
    records: list[Record],
) -> None:
    result = selected(records, "org1")
    in_file = {(item.model, item.pk) for item in records}
    for item in records:
        if item.pk not in result[item.model.removeprefix("sentry.")]:
            continue
        for field, key in CATALOGUE[item.model].foreign_keys.items():
            target = item.fields.get(field)
            if key.to in TREE and (key.to, target) in in_file:
                assert target in result[key.to.removeprefix("sentry.")]
    assert result["organization"] == {1}


@settings(deadline=None)
@given(records=exports(), data=st.data())
def test_the_order_of_records_does_not_change_the_selection(
    records: list[Record], data: st.DataObject
) -> None:
    """T-12, W-20."""
    shuffled = data.draw(st.permutations(records))
    assert selected(records, "org1") == selected(shuffled, "org1")


@settings(deadline=None)
@given(records=exports())
def test_records_of_several_wanted_organizations_include_those_of_each(
    records: list[Record],
) -> None:
    one, both = selected(records, "org1"), selected(records, "org1", "org2")
    for model, pks in one.items():
        assert pks <= both[model]

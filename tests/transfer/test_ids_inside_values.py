"""Ids inside JSON and text: remapped in the known places, and nowhere else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from destinations import Rows
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.catalogue.places import PLACES, Lost, Place
from relocation.findings import Finding, FindingKind
from relocation.transfer.compare.comparing import compare
from relocation.transfer.inner_ids import LostId, point_inside
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.source import RecordList

DATE = "2026-06-22T22:54:28.773Z"
FIRST_SEEN = {"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}
MAIL = "sentry.mail.actions.NotifyEmailAction"


def source_of(*records: Record) -> RecordList:
    return RecordList(records, load_catalogue())


def run(engine: Engine, *records: Record, relocation_id: str = "one") -> ImportReport:
    bind(engine, relocation_id, 1)
    return import_records(engine, source_of(*records), relocation_id=relocation_id, fence=1)


def user(pk: int, name: str) -> Record:
    address = f"{name}@example.org"
    fields = {"username": name, "email": address, "is_active": True, "date_joined": DATE}
    return Record("sentry.user", pk, fields)


ACME = (
    Record("sentry.organization", 5, {"name": "acme", "slug": "acme", "status": 0}),
    user(7, "ann"),
    user(8, "bob"),
    Record("sentry.team", 11, {"organization": 5, "name": "T", "slug": "t"}),
    Record("sentry.team", 12, {"organization": 5, "name": "U", "slug": "u"}),
    Record("sentry.project", 20, {"organization": 5, "name": "P", "slug": "p"}),
    Record("sentry.project", 21, {"organization": 5, "name": "Q", "slug": "q"}),
)


@pytest.fixture
def busy(destination: Engine) -> Engine:
    """A destination in which all keys of the export are somebody else's."""
    strangers = [
        Record("sentry.organization", 1, {"name": "other", "slug": "other", "status": 0}),
        *(user(pk, f"stranger{pk}") for pk in range(1, 31)),
        *(
            Record("sentry.team", pk, {"organization": 1, "name": "S", "slug": f"s{pk}"})
            for pk in range(1, 31)
        ),
        *(
            Record("sentry.project", pk, {"organization": 1, "name": "S", "slug": f"s{pk}"})
            for pk in range(1, 31)
        ),
    ]
    run(destination, *strangers, relocation_id="strangers")
    return destination


def here(rows: Rows, model: str, field: str, value: str) -> int:
    (found,) = [row["id"] for row in rows(model) if row[field] == value]
    return int(found)


def rule(pk: int, data: object) -> Record:
    return Record("sentry.rule", pk, {"project": 20, "label": "R", "data": data, "status": 0})


def action(kind: str, identifier: object, **more: object) -> dict[str, Any]:
    return {"id": MAIL, "targetType": kind, "targetIdentifier": identifier, **more}


@pytest.mark.parametrize("form", [json.dumps, lambda data: data], ids=["text", "object"])
def test_the_actions_of_a_rule_point_at_the_teams_and_members_that_came_with_it(
    busy: Engine, rows: Rows, form: Callable[[object], object]
) -> None:
    data = {
        "conditions": [FIRST_SEEN, action("Member", "8")],
        "actions": [action("Team", 12), action("Member", 7), action("IssueOwners", None)],
        "frequency": 12,
    }
    report = run(busy, *ACME, rule(30, form(data)))
    assert not report.findings
    (arrived,) = rows("sentry.rule")
    assert json.loads(arrived["data"]) == {
        "conditions": [
            FIRST_SEEN,
            action("Member", str(here(rows, "sentry.user", "username", "bob"))),
        ],
        "actions": [
            action("Team", here(rows, "sentry.team", "slug", "u")),
            action("Member", here(rows, "sentry.user", "username", "ann")),
            action("IssueOwners", None),
        ],
        "frequency": 12,
    }


def test_an_id_of_what_was_not_imported_becomes_nobody_and_is_told(
    busy: Engine, rows: Rows
) -> None:
    slack = {"id": "sentry.integrations.slack.notify_action.SlackNotifyServiceAction"}
    data = {"actions": [action("Team", 29), {**slack, "workspace": "4", "channel": "#a"}]}
    report = run(busy, *ACME, rule(30, data))
    (arrived,) = rows("sentry.rule")
    assert json.loads(arrived["data"])["actions"] == [
        action("Team", None),
        {**slack, "workspace": None, "channel": "#a"},
    ]
    assert [(one.kind, one.field, one.pk) for one in report.findings] == [
        (FindingKind.NULLED_REFERENCE, "data", 30)
    ] * 2
    assert "sentry.team 29, which was not imported" in report.findings[0].reason


def test_numbers_in_unknown_places_stay_as_they_are(busy: Engine, rows: Rows) -> None:
    data = {
        "actions": [{"id": MAIL, "team": 12, "targetType": "Other", "targetIdentifier": 12}],
        "projects": [20],
        "note": {"actions": [action("Team", 12)]},
    }
    run(busy, *ACME, rule(30, data))
    (arrived,) = rows("sentry.rule")
    assert json.loads(arrived["data"]) == data


def test_text_in_which_nothing_changes_is_not_written_anew(busy: Engine, rows: Rows) -> None:
    text = '{ "actions" : [ {"targetType": "IssueOwners"} ], "n": 1.0 }'
    run(busy, *ACME, rule(30, text), rule(31, "[" * 2000))
    assert [row["data"] for row in rows("sentry.rule")] == [text, "[" * 2000]


def test_every_other_known_place_is_remapped_too(busy: Engine, rows: Rows) -> None:
    owned = {"type": "team", "identifier": "u", "id": 12}
    run(
        busy,
        *ACME,
        rule(30, {}),
        Record(
            "sentry.monitor",
            1,
            {
                "organization_id": 5,
                "project_id": 20,
                "slug": "m",
                "config": {"alert_rule_id": 30, "max_runtime": 30},
            },
        ),
        Record(
            "sentry.notificationaction",
            1,
            {
                "organization": 5,
                "type": 0,
                "trigger_type": 0,
                "target_type": 2,
                "target_identifier": "12",
            },
        ),
        Record(
            "sentry.projectownership",
            1,
            {
                "project": 20,
                "schema": {"rules": [{"owners": [owned, {"type": "user", "id": 29}]}]},
            },
        ),
        Record(
            "sentry.useroption",
            1,
            {"user": 7, "key": "reports:disabled-organizations", "value": ["5", "999"]},
        ),
        Record(
            "sentry.savedsearch",
            1,
            {
                "organization": 5,
                "owner_id": 7,
                "type": 0,
                "name": "S",
                "query": "is:unresolved project.id:[20, 21] !project_id:29 age:-20d xproject.id:20",
            },
        ),
        Record(
            "sentry.dashboard",
            1,
            {
                "organization": 5,
                "title": "D",
                "created_by_id": 7,
                "filters": {"release_id": [3], "release": ["1.0"]},
            },
        ),
    )
    team, p, q = (
        here(rows, f"sentry.{model}", "slug", slug)
        for model, slug in (("team", "u"), ("project", "p"), ("project", "q"))
    )
    (moved,) = rows("sentry.rule")
    assert rows("sentry.monitor")[0]["config"] == {"alert_rule_id": moved["id"], "max_runtime": 30}
    assert rows("sentry.notificationaction")[0]["target_identifier"] == str(team)
    (owners,) = (rule["owners"] for rule in rows("sentry.projectownership")[0]["schema"]["rules"])
    assert owners == [{**owned, "id": team}, {"type": "user"}]
    organization = here(rows, "sentry.organization", "slug", "acme")
    assert json.loads(rows("sentry.useroption")[0]["value"]) == [str(organization)]
    assert rows("sentry.savedsearch")[0]["query"] == (
        f"is:unresolved project.id:[{p}, {q}] !project_id:0 age:-20d xproject.id:20"
    )
    assert rows("sentry.dashboard")[0]["filters"] == {"release_id": [], "release": ["1.0"]}


def test_a_data_source_names_what_came_with_it_or_does_not_come(busy: Engine, rows: Rows) -> None:
    def source(pk: int, subscription: str) -> Record:
        fields = {"organization": 5, "type": "snuba_query_subscription", "source_id": subscription}
        return Record("workflow_engine.datasource", pk, fields)

    subscription = Record("sentry.querysubscription", 3, {"project": 20})
    report = run(busy, *ACME, subscription, source(1, "3"), source(2, "29"))
    [arrived] = rows("workflow_engine.datasource")
    assert arrived["source_id"] == str(rows("sentry.querysubscription")[0]["id"])
    [lost] = report.findings
    assert (lost.kind, lost.pk) == (FindingKind.LOST_REFERENCE, 2)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 40)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["actions", "id", "targetType", "targetIdentifier", "team", "rules"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def record_with(place: Place, value: object) -> dict[str, Any]:
    """Return a record in whose field the value is wherever the place is."""
    beside = {key: pattern.replace(r"\w+", "x") for key, pattern in place.when.items()}
    beside = {key: text.replace("\\", "").split("|")[0] for key, text in beside.items()}
    for key in reversed(place.path):
        value = [value] if key == "[]" else {**beside, key: value}
    return {**({} if place.within else beside), place.field: value}


@given(model=st.sampled_from(sorted({place.model for place in PLACES})), value=VALUES)
def test_whatever_a_value_is_pointing_it_at_itself_changes_nothing(
    model: str, value: object
) -> None:
    """Safety: only ids change, and these keep their form."""
    for field in {place.field for place in PLACES if place.model == model}:
        fields = {field: value, "target_type": 2, "type": "team"}
        before = json.dumps(fields)
        assert point_inside(model, fields, lambda _, pk: pk) == []
        assert json.dumps(fields) == before


@pytest.mark.parametrize("place", [one for one in PLACES if not one.search], ids=str)
@pytest.mark.parametrize("form", [int, str])
def test_every_place_of_the_table_is_found_and_each_loss_is_told(
    place: Place, form: Callable[[int], object]
) -> None:
    """Liveness: a place that the table has is one that records are searched for."""
    fields = record_with(place, form(41))
    if "id" in place.when:
        holder = fields[place.field]["actions"][0]
        provider = place.when["id"].split("(")[1].split(")")[0].split("|")[0]
        holder["id"] = f"sentry.integrations.{provider.replace(chr(92) + 'w+', 'jira')}.Action"
    asked: list[tuple[str, int]] = []

    def next_one(to: str, pk: int) -> int:
        asked.append((to, pk))
        return pk + 1

    assert point_inside(place.model, fields, next_one) == []
    assert asked == [(place.to, 41)]
    assert json.dumps(form(42)) in json.dumps(fields[place.field])
    assert point_inside(place.model, fields, lambda _to, _pk: None) == [
        LostId(place.field, place.to, 42, place.lost is Lost.RECORD)
    ]
    assert "42" not in json.dumps(fields[place.field])


def told(*findings: Finding) -> list[tuple[FindingKind, str | None, int | None]]:
    return [(one.kind, one.field, one.pk) for one in findings]


PAIRS = {
    "sentry.organization": {5: 5},
    "sentry.user": {7: 7, 8: 8},
    "sentry.team": {11: 111, 12: 112},
    "sentry.project": {20: 20, 21: 21},
    "sentry.rule": {30: 30},
}


def arrived(*records: Record) -> RecordList:
    teams = [
        Record("sentry.team", 100 + pk, {"organization": 5, "name": name, "slug": name.lower()})
        for pk, name in ((11, "T"), (12, "U"))
    ]
    return source_of(*(one for one in ACME if one.model != "sentry.team"), *teams, *records)


def trial(before: object, after: object) -> list[Finding]:
    left, right = source_of(*ACME, rule(30, before)), arrived(rule(30, after))
    return [one for one in compare(left, right, pairs=PAIRS) if one.model == "sentry.rule"]


def test_the_trial_takes_a_remapped_id_for_the_one_it_was() -> None:
    after = json.dumps({"actions": [action("Team", 112)]})
    assert trial({"actions": [action("Team", 12)]}, after) == []


@pytest.mark.parametrize("wrong", [12, 111, 29, None])
def test_the_trial_sees_an_id_that_names_another_record(wrong: int | None) -> None:
    found = trial({"actions": [action("Team", 12)]}, {"actions": [action("Team", wrong)]})
    assert told(*found) == [(FindingKind.FOREIGN_KEY, "data", 30)]
    assert "other records" in found[0].reason


def test_the_trial_wants_nobody_where_the_record_was_not_imported() -> None:
    lost = {"actions": [action("Team", 29)]}
    assert trial(lost, {"actions": [action("Team", None)]}) == []
    assert told(*trial(lost, lost)) == [(FindingKind.FOREIGN_KEY, "data", 30)]


def test_another_difference_beside_an_id_is_still_told_as_one() -> None:
    before = {"actions": [action("Team", 12)], "frequency": 5}
    found = trial(before, {"actions": [action("Team", 112)], "frequency": 6})
    assert told(*found) == [(FindingKind.UNEQUAL, "data", 30)]


def test_two_files_are_the_same_where_their_ids_name_the_same_records() -> None:
    left = source_of(*ACME, rule(30, {"actions": [action("Team", 12), action("Team", 29)]}))
    assert compare(left, left) == []
    same = arrived(rule(30, {"actions": [action("Team", 112), action("Team", 29)]}))
    assert compare(left, same) == []
    other = arrived(rule(30, {"actions": [action("Team", 111), action("Team", 29)]}))
    assert told(*compare(left, other)) == [(FindingKind.FOREIGN_KEY, "data", 30)]

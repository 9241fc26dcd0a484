"""What an import changes in the records of certain models (spec 3.6)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Unpack

import pytest
from destinations import Add, ImportOptions, Rows
from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import PermanentError
from relocation.findings import FindingKind
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.load.rules import PERSONAL, RULES
from relocation.transfer.source import RecordList

DATE = "2023-06-22T22:54:28.773Z"


class Take(Protocol):
    """Imports records under a relocation id of its own."""

    def __call__(self, *records: Record, **options: Unpack[ImportOptions]) -> ImportReport: ...


@pytest.fixture
def take(destination: Engine) -> Take:
    """Imports records under a relocation id of its own."""
    taken = iter(range(100))

    def run(*records: Record, **options: Unpack[ImportOptions]) -> ImportReport:
        relocation_id = f"relocation-{next(taken)}"
        bind(destination, relocation_id, 1)
        source = RecordList(records, load_catalogue())
        return import_records(destination, source, relocation_id=relocation_id, fence=1, **options)

    return run


def user(pk: int, username: str, **fields: object) -> Record:
    return Record(
        "sentry.user",
        pk,
        {
            "username": username,
            "email": f"{username[:20]}@example.org",
            "password": "pbkdf2_sha256$1$salt$hash",
            "is_active": True,
            "is_staff": True,
            "is_superuser": True,
            "is_managed": True,
            "is_unclaimed": False,
            "is_password_expired": True,
            "last_password_change": DATE,
            "date_joined": DATE,
        }
        | fields,
    )


def organization(pk: int, slug: str) -> Record:
    return Record("sentry.organization", pk, {"name": slug.title(), "slug": slug, "status": 0})


def project(pk: int, of: int) -> Record:
    return Record("sentry.project", pk, {"organization": of, "slug": f"p{pk}", "name": f"P{pk}"})


def key(pk: int, of: int, public: str | None, secret: str | None) -> Record:
    return Record(
        "sentry.projectkey", pk, {"project": of, "public_key": public, "secret_key": secret}
    )


def kinds(report: ImportReport) -> list[tuple[FindingKind, str, int | None]]:
    return [(one.kind, one.model, one.pk) for one in report.findings]


def test_users_lose_their_privileges_and_their_password(take: Take, rows: Rows) -> None:
    """A-20."""
    take(user(1, "ann"), user(2, "ben", is_unclaimed=True))
    ann, ben = rows("sentry.user")
    for one in (ann, ben):
        assert not (one["is_staff"] or one["is_superuser"] or one["is_managed"])
        assert one["is_unclaimed"]
        assert not one["is_password_expired"]
        assert one["password"].startswith("!")
        assert one["last_password_change"].year > 2023
    assert ann["password"] != ben["password"]
    assert ann["is_active"]


def test_a_taken_username_gets_a_suffix_and_its_holder_stays_as_it_was(
    take: Take, rows: Rows
) -> None:
    """A-26, A-42: twice the same file gives two different suffixes."""
    take(user(1, "ann"))
    before = rows("sentry.user")[0]
    take(user(1, "Ann"))
    take(user(1, "ann"))
    first, second, third = (one["username"] for one in rows("sentry.user"))
    assert rows("sentry.user")[0] == before
    assert first == "ann"
    assert re.fullmatch(r"Ann-[a-z0-9]{2}", second)
    assert re.fullmatch(r"ann-[a-z0-9]{2,}", third)
    assert second.lower() != third


def test_two_users_of_one_name_in_one_file_both_arrive(take: Take, rows: Rows) -> None:
    """I-53."""
    report = take(user(1, "ann"), user(2, "ann"), user(3, "12345"))
    names = [one["username"] for one in rows("sentry.user")]
    assert names[0] == "ann"
    assert names[1].startswith("ann-")
    assert names[2] == "12345"
    assert report.accounts["sentry.user"].inserted == 3
    assert "ann" not in str(report.findings), "a username is personal data"


def test_a_username_over_128_characters_stops_the_import(take: Take, rows: Rows) -> None:
    """A-25."""
    with pytest.raises(PermanentError, match=r"sentry\.user 7 .* 129 characters") as refused:
        take(user(7, "x" * 129))
    assert "xxx" not in refused.value.reason
    assert rows("sentry.user") == []


def test_an_address_that_is_there_is_shared_and_left_alone(
    take: Take, rows: Rows, add: Add
) -> None:
    """A-57, I-56, W-17: whatever its case."""
    there = add("sentry.email", email="Ann@Example.org")
    report = take(
        Record("sentry.email", 1, {"email": "ann@example.org", "date_added": DATE}),
        Record("sentry.email", 2, {"email": "new@example.org", "date_added": DATE}),
        Record("sentry.email", 3, {"email": "NEW@example.org", "date_added": DATE}),
    )
    emails = rows("sentry.email")
    assert [one["email"] for one in emails] == ["Ann@Example.org", "new@example.org"]
    assert emails[0]["id"] == there
    assert emails[0]["date_added"] is None
    account = report.accounts["sentry.email"]
    assert (account.read, account.inserted, account.merged) == (3, 1, 2)


def test_user_addresses_arrive_unverified_with_new_hashes(take: Take, rows: Rows) -> None:
    """A-22, A-29: all of them, each once."""
    old = {"is_verified": True, "validation_hash": "a" * 32, "date_hash_added": DATE, "user": 1}
    report = take(
        user(1, "ann"),
        Record("sentry.useremail", 1, {"email": "a@example.org", **old}),
        Record("sentry.useremail", 2, {"email": "b@example.org", **old}),
        Record("sentry.useremail", 3, {"email": "a@example.org", **old}),
    )
    addresses = rows("sentry.useremail")
    assert [one["email"] for one in addresses] == ["a@example.org", "b@example.org"]
    assert not any(one["is_verified"] for one in addresses)
    hashes = {one["validation_hash"] for one in addresses}
    assert len(hashes) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", one) for one in hashes)
    assert "a" * 32 not in hashes
    assert kinds(report) == [(FindingKind.DUPLICATE, "sentry.useremail", 3)]


def option(pk: int, name: str, value: object, **fields: object) -> Record:
    return Record("sentry.useroption", pk, {"user": 1, "key": name, "value": value, **fields})


def test_a_second_setting_of_a_user_is_skipped_unless_it_is_for_a_project(
    take: Take, rows: Rows
) -> None:
    """I-59b."""
    report = take(
        user(1, "ann"),
        organization(1, "one"),
        project(1, of=1),
        option(1, "theme", "dark"),
        option(2, "theme", "light"),
        option(3, "theme", "pale", project_id=1),
    )
    assert [one["value"] for one in rows("sentry.useroption")] == ["dark", "pale"]
    assert kinds(report) == [(FindingKind.DUPLICATE, "sentry.useroption", 2)]


def test_a_setting_for_a_project_that_did_not_come_is_no_setting_for_all(
    take: Take, rows: Rows
) -> None:
    report = take(user(1, "ann"), option(1, "theme", "dark", project_id=9))
    assert rows("sentry.useroption") == []
    assert kinds(report) == [(FindingKind.LOST_REFERENCE, "sentry.useroption", 1)]


def test_known_time_zones_arrive_in_either_spelling(take: Take, rows: Rows) -> None:
    take(user(1, "ann"), option(1, "timezone", '"Europe/Vienna"'))
    take(user(1, "ben"), option(1, "timezone", "Europe/Vienna"))
    assert [one["value"] for one in rows("sentry.useroption")] == [
        '"Europe/Vienna"',
        "Europe/Vienna",
    ]


@pytest.mark.parametrize("zone", ['"Europe/Atlantis"', 5, {"a": 1}])
def test_an_unknown_time_zone_stops_the_import(take: Take, zone: object) -> None:
    """A-30."""
    with pytest.raises(PermanentError, match=r"sentry\.useroption 1 .* not a known time zone"):
        take(user(1, "ann"), option(1, "timezone", zone))


@pytest.mark.parametrize(
    ("exported", "slug"),
    [
        ("My_Team", "my-team"),  # made valid
        ("a" * 45, "a" * 45),  # longer than a suffixed one may be, but free
        ("acme-2", "acme-2"),
    ],
)
def test_a_slug_is_made_valid_and_else_kept(
    take: Take, rows: Rows, exported: str, slug: str
) -> None:
    """I-62, W-12."""
    report = take(organization(1, exported))
    assert rows("sentry.organization")[0]["slug"] == slug
    assert [one.kind for one in report.findings] == ([FindingKind.RENAMED] * (exported != slug))


def test_a_taken_slug_gets_a_suffix_and_a_finding_with_both(take: Take, rows: Rows) -> None:
    """A-27."""
    take(organization(1, "acme"))
    report = take(organization(5, "acme"), organization(6, "Acme"))
    old, first, second = (one["slug"] for one in rows("sentry.organization"))
    assert old == "acme"
    assert first != second
    assert all(re.fullmatch(r"acme-[a-z0-9]{2,5}", slug) for slug in (first, second))
    assert [(one.pk, one.reason) for one in report.findings] == [
        (5, f'"acme" is now "{first}".'),
        (6, f'"Acme" is now "{second}".'),
    ]


def test_a_long_slug_that_is_taken_is_cut_to_30_characters(take: Take, rows: Rows) -> None:
    """I-90."""
    take(organization(1, "a" * 45))
    take(organization(1, "a" * 45))
    assert re.fullmatch(r"a{27}-[a-z0-9]{2}", rows("sentry.organization")[1]["slug"])


@pytest.mark.parametrize("slug", ["api", "___"])
def test_a_reserved_or_empty_slug_becomes_a_random_one(take: Take, rows: Rows, slug: str) -> None:
    """I-90."""
    take(organization(1, slug))
    assert re.fullmatch(r"[0-9a-f]{12}", rows("sentry.organization")[0]["slug"])


@pytest.mark.parametrize(("hide", "status"), [(True, 3), (False, 0)])
def test_organizations_are_hidden_on_demand(
    take: Take, rows: Rows, hide: bool, status: int
) -> None:
    """A-40."""
    take(organization(1, "acme"), hide=hide)
    assert rows("sentry.organization")[0]["status"] == status


def member(pk: int, **fields: object) -> Record:
    return Record("sentry.organizationmember", pk, {"organization": 1, "role": "member", **fields})


def test_a_member_whose_inviter_did_not_come_arrives_without_one(take: Take, rows: Rows) -> None:
    """A-45, B-6."""
    report = take(organization(1, "acme"), user(1, "ann"), member(1, user_id=1, inviter_id=9))
    [row] = rows("sentry.organizationmember")
    assert row["inviter_id"] is None
    assert row["user_id"] == rows("sentry.user")[0]["id"]
    assert kinds(report) == [(FindingKind.NULLED_REFERENCE, "sentry.organizationmember", 1)]


def test_a_member_whose_person_did_not_come_is_dropped_and_an_invitation_is_not(
    take: Take, rows: Rows
) -> None:
    report = take(
        organization(1, "acme"), member(1, user_id=9), member(2, email="guest@example.org")
    )
    assert [one["email"] for one in rows("sentry.organizationmember")] == ["guest@example.org"]
    assert kinds(report) == [(FindingKind.LOST_REFERENCE, "sentry.organizationmember", 1)]


def test_an_invitation_token_in_use_becomes_null(take: Take, rows: Rows) -> None:
    """A-56, W-16: and the invitation that has it keeps it."""
    take(organization(1, "one"), member(1, email="a@example.org", token="secret"))
    report = take(organization(1, "two"), member(1, email="b@example.org", token="secret"))
    assert [one["token"] for one in rows("sentry.organizationmember")] == ["secret", None]
    assert (FindingKind.RENEWED, "sentry.organizationmember", 1) in kinds(report)
    assert "secret" not in str(report.as_json())


def token(pk: int, value: str | None) -> Record:
    fields = {"organization_id": 1, "name": "ci", "scope_list": "['org:ci']"}
    return Record(
        "sentry.orgauthtoken",
        pk,
        fields | {"token_hashed": value, "token_last_characters": "cafe"},
    )


def test_a_token_hash_in_use_is_replaced_for_good(take: Take, rows: Rows) -> None:
    """A-52."""
    take(organization(1, "one"), token(1, "a" * 64))
    take(organization(1, "two"), token(1, "a" * 64), token(2, "b" * 64))
    taken, renewed, free = rows("sentry.orgauthtoken")
    assert taken["token_hashed"] == "a" * 64
    assert re.fullmatch(r"[0-9a-f]{64}", renewed["token_hashed"])
    assert renewed["token_hashed"] != "a" * 64
    assert renewed["token_last_characters"] is None
    assert (free["token_hashed"], free["token_last_characters"]) == ("b" * 64, "cafe")


def test_every_project_key_arrives_and_only_what_is_taken_is_new(take: Take, rows: Rows) -> None:
    """A-53, B-5, W-15."""
    take(organization(1, "one"), project(1, of=1), key(1, 1, "a" * 32, "b" * 32))
    report = take(
        organization(1, "two"),
        project(1, of=1),
        key(1, 1, "a" * 32, "c" * 32),
        key(2, 1, "d" * 32, "b" * 32),
        key(3, 1, "e" * 32, "c" * 32),
        key(4, 1, "f" * 32, None),
    )
    old, *keys = rows("sentry.projectkey")
    assert (old["public_key"], old["secret_key"]) == ("a" * 32, "b" * 32)
    assert len(keys) == 4
    assert [one["public_key"] for one in keys[1:]] == ["d" * 32, "e" * 32, "f" * 32]
    assert [keys[0]["secret_key"], keys[3]["secret_key"]] == ["c" * 32, None]
    for new in (keys[0]["public_key"], keys[1]["secret_key"], keys[2]["secret_key"]):
        assert re.fullmatch(r"[0-9a-f]{32}", new)
        assert len(set(new)) > 1
    renewed = [(one.pk, one.field) for one in report.findings if one.kind == FindingKind.RENEWED]
    assert renewed == [(1, "public_key"), (2, "secret_key"), (3, "secret_key")]


def test_the_first_of_two_options_of_a_project_stays(take: Take, rows: Rows) -> None:
    """I-72, across the border of a chunk too."""
    options = [
        Record("sentry.projectoption", pk, {"project": 1, "key": name, "value": pk})
        for pk, name in enumerate(["a", "a", "b", "c", "b"], start=1)
    ]
    report = take(organization(1, "one"), project(1, of=1), *options, chunk_records=3)
    assert [(one["key"], one["value"]) for one in rows("sentry.projectoption")] == [
        ("a", "1"),
        ("b", "3"),
        ("c", "4"),
    ]
    duplicate = FindingKind.DUPLICATE
    assert kinds(report) == [(duplicate, "sentry.projectoption", pk) for pk in (2, 5)]


def test_a_monitor_gets_a_new_guid(take: Take, rows: Rows) -> None:
    """A-51."""
    fields = {"organization_id": 1, "project_id": 1, "slug": "cron", "guid": "x" * 36}
    take(organization(1, "one"), project(1, of=1), Record("sentry.monitor", 1, fields))
    [row] = rows("sentry.monitor")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
                        row["guid"])  # fmt: skip


def test_a_query_subscription_waits_for_the_product_to_create_it(take: Take, rows: Rows) -> None:
    """A-54: with an id of elsewhere it would be taken for active, and never fire."""
    fields = {"project": 1, "status": 0, "date_updated": "2099-01-02T03:04:05.000Z"}
    take(
        organization(1, "one"),
        project(1, of=1),
        Record("sentry.querysubscription", 1, fields | {"subscription_id": f"0/{'a' * 32}"}),
    )
    [row] = rows("sentry.querysubscription")
    assert (row["subscription_id"], row["status"]) == (None, 1)
    updated = row["date_updated"].replace(tzinfo=UTC)
    assert updated < datetime.now(UTC) - timedelta(minutes=11), (
        "its checker leaves newer ones alone"
    )


@pytest.mark.parametrize("status", [3, 4])  # about to be deleted; disabled
def test_a_query_subscription_that_nobody_wants_stays_so(
    take: Take, rows: Rows, status: int
) -> None:
    take(
        organization(1, "one"),
        project(1, of=1),
        Record("sentry.querysubscription", 1, {"project": 1, "status": status}),
    )
    [row] = rows("sentry.querysubscription")
    assert (row["subscription_id"], row["status"]) == (None, status)


def test_a_global_search_is_left_out(take: Take, rows: Rows) -> None:
    """A-55."""
    report = take(
        organization(1, "one"),
        Record("sentry.savedsearch", 1, {"is_global": True, "name": "all", "organization": None}),
        Record("sentry.savedsearch", 2, {"is_global": False, "name": "mine", "organization": 1}),
    )
    assert [one["name"] for one in rows("sentry.savedsearch")] == ["mine"]
    assert kinds(report) == [(FindingKind.OUT_OF_SCOPE, "sentry.savedsearch", 1)]


def test_an_action_of_an_integration_is_left_out_with_its_projects(take: Take, rows: Rows) -> None:
    """S-4, A-58."""
    report = take(
        organization(1, "one"),
        project(1, of=1),
        Record("sentry.notificationaction", 1, {"organization": 1, "integration_id": 4}),
        Record("sentry.notificationaction", 2, {"organization": 1, "integration_id": None}),
        Record("sentry.notificationactionproject", 1, {"action": 1, "project": 1}),
        Record("sentry.notificationactionproject", 2, {"action": 2, "project": 1}),
    )
    [action] = rows("sentry.notificationaction")
    assert [one["action"] for one in rows("sentry.notificationactionproject")] == [action["id"]]
    assert kinds(report) == [
        (FindingKind.OUT_OF_SCOPE, "sentry.notificationaction", 1),
        (FindingKind.LOST_REFERENCE, "sentry.notificationactionproject", 1),
    ]


MAIL, SLACK, APP = 0, 2, 4
ADDRESS, USER, TEAM = 0, 1, 2


@pytest.mark.parametrize(
    ("fields", "comes"),
    [
        ({"type": MAIL, "target_type": TEAM, "target_identifier": "3"}, True),
        ({"type": MAIL, "target_type": USER, "target_identifier": "2"}, True),
        ({"type": MAIL, "target_type": ADDRESS, "target_identifier": "a@example.org"}, False),
        ({"type": SLACK, "target_type": ADDRESS, "integration_id": 4}, False),
        ({"type": SLACK, "target_type": ADDRESS, "integration_id": 0}, False),
        ({"type": APP, "target_type": 3, "sentry_app_id": 4}, False),
    ],
)
def test_of_the_actions_of_a_metric_alert_the_mails_to_people_come_along(
    take: Take, rows: Rows, fields: dict[str, Any], comes: bool
) -> None:
    report = take(
        organization(1, "one"),
        user(1, "ann"),
        user(2, "ben"),
        Record("sentry.team", 3, {"organization": 1, "slug": "t", "name": "T"}),
        Record("sentry.alertrule", 1, {"organization": 1, "name": "A"}),
        Record("sentry.alertruletrigger", 1, {"alert_rule": 1, "label": "critical"}),
        Record("sentry.alertruletriggeraction", 1, {"alert_rule_trigger": 1, **fields}),
    )
    people = {TEAM: "sentry.team", USER: "sentry.user"}
    arrived = [row["target_identifier"] for row in rows("sentry.alertruletriggeraction")]
    if comes:
        assert arrived == [str(rows(people[fields["target_type"]])[-1]["id"])]
        assert report.findings == ()
    else:
        assert arrived == []
        assert kinds(report) == [(FindingKind.OUT_OF_SCOPE, "sentry.alertruletriggeraction", 1)]
        assert report.left_behind()["sentry.alertruletriggeraction"] == 1


def test_an_environment_of_a_cron_monitor_arrives_and_is_not_late(take: Take, rows: Rows) -> None:
    monitor = {"organization_id": 1, "project_id": 1, "slug": "cron", "guid": None}
    inside = {"monitor": 1, "environment": 1, "status": 4, "date_added": DATE}
    take(
        organization(1, "one"),
        project(1, of=1),
        Record("sentry.environment", 1, {"organization_id": 1, "name": "production"}),
        Record("sentry.monitor", 1, monitor),
        Record(
            "sentry.monitorenvironment",
            1,
            {**inside, "last_checkin": DATE, "next_checkin": "2023-06-22T23:54:28.773Z"},
        ),
    )
    [row] = rows("sentry.monitorenvironment")
    assert (row["status"], row["next_checkin"]) == (4, None)
    assert row["last_checkin"] is not None


def test_every_model_that_can_collide_with_foreign_rows_has_a_rule() -> None:
    """A-14: its unique set names no reference, so that only a rule can see the collision."""
    colliding = {
        model.name
        for model in load_catalogue().admitted(Scope.ORGANIZATION)
        for unique in model.uniques
        if not set(unique) & model.foreign_keys.keys()
    }
    ruled = RULES.keys() - PERSONAL.keys()
    assert colliding - ruled == {"sentry.savedsearch"}  # its global rows never come


def test_a_renamed_user_is_reported_without_the_name(
    take: Take, rows: Rows, add: Add, owner: int
) -> None:
    """As a renamed slug is; but a username is often an address (W-31)."""
    person = {"email": "o@example.org", "is_active": True, "date_joined": DATE}
    report = take(
        Record("sentry.user", 4, {**person, "username": "olga"}),
        Record("sentry.user", 5, {**person, "username": "free"}),
        Record("sentry.user", 6, {**person, "username": ""}),
    )
    names = {row["username"] for row in rows("sentry.user")} - {"olga", "free"}
    [suffixed] = [name for name in names if name.startswith("olga-")]
    [nameless] = names - {suffixed}
    assert [(one.kind, one.pk, one.field, one.reason) for one in report.findings] == [
        (
            FindingKind.RENAMED,
            4,
            "username",
            f'It was taken; the account\'s name now ends in "{suffixed[4:]}".',
        ),
        (FindingKind.RENAMED, 6, "username", f'It was empty; it is "{nameless}" now.'),
    ]
    assert report.renamed_users == 2

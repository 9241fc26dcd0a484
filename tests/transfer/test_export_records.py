"""What leaves a live database under each scope and filter."""

from collections import Counter
from collections.abc import Collection, Generator, Iterator

import pytest
from destinations import Databases
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import ConfigurationError
from relocation.example import example_export
from relocation.transfer.database.exporting import LiveSource, export_records
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.existing import load_existing
from relocation.transfer.source import RecordList

DATE = "2023-06-22T22:54:28.000Z"


def person(pk: int, name: str, address: str, **flags: bool) -> list[Record]:
    powers = {"is_staff": False, "is_superuser": False, **flags}
    fields = {"username": name, "email": address, "password": "!", "date_joined": DATE}
    return [
        Record("sentry.user", pk, {**fields, "is_active": True, **powers}),
        Record("sentry.useremail", pk, {"user": pk, "email": address.upper(), "is_verified": True}),
    ]


def organization(pk: int, slug: str, members: dict[int, int]) -> list[Record]:
    """Return an organization with a token, and members by primary key and user."""
    return [
        Record("sentry.organization", pk, {"slug": slug, "name": slug, "status": 0, "flags": "1"}),
        Record(
            "sentry.orgauthtoken",
            pk,
            {"organization_id": pk, "token_hashed": f"hash {pk}", "scope_list": "['org:ci']"},
        ),
        *(
            Record(
                "sentry.organizationmember",
                member,
                {"organization": pk, "user_id": user, "role": "member", "inviter_id": 4},
            )
            for member, user in members.items()
        ),
    ]


RECORDS = [
    *person(1, "ann", "ann@example.com", is_superuser=True),
    *person(2, "bob", "shared@example.com", is_staff=True),
    *person(3, "cleo", "shared@example.com"),
    *person(4, "dan", "dan@example.com"),
    *person(5, "eve", "eve@example.com"),
    *(
        Record("sentry.email", pk, {"email": f"{name}@example.com", "date_added": DATE})
        for pk, name in enumerate(("ann", "Shared", "dan", "eve"), start=1)
    ),
    *organization(1, "acme", {1: 1, 2: 2, 3: 3}),
    *organization(2, "birch", {4: 3, 5: 5}),
    *organization(3, "cobalt", {6: 5}),
    Record("sentry.userpermission", 1, {"user": 4, "permission": "users.admin"}),
    Record("sentry.userrole", 1, {"name": "admin", "permissions": "['users.admin']"}),
    Record("sentry.userroleuser", 1, {"user": 5, "role": 1}),
    Record("sentry.option", 1, {"key": "system.url", "value": '"x"', "last_updated": DATE}),
    Record("sentry.option", 2, {"key": "sentry:last_worker_ping", "value": 1.5}),
    Record("sentry.controloption", 1, {"key": "sentry:last_worker_version", "value": "1"}),
    Record("sentry.apiapplication", 1, {"client_id": "c", "client_secret": "s", "owner": 1}),
    Record("sentry.apitoken", 1, {"user": 1, "token": "personal", "scopes": "0"}),
    Record("sentry.apitoken", 2, {"user": 1, "token": "of the app", "application": 1}),
    Record("sentry.dashboard", 1, {"organization": 1, "created_by_id": 1, "title": "Mine"}),
    Record("sentry.team", 1, {"organization": 1, "slug": "a", "name": "a"}),
    Record("sentry.team", 2, {"organization": 2, "slug": "b", "name": "b"}),
    Record("sentry.project", 1, {"organization": 1, "slug": "p", "name": "p"}),
    Record("sentry.project", 2, {"organization": 2, "slug": "q", "name": "q"}),
    Record("sentry.rule", 1, {"project": 1, "label": "left behind", "owner_user_id": 4}),
    Record("sentry.snubaquery", 1, {"query": "of acme", "dataset": "events"}),
    Record("sentry.snubaquery", 2, {"query": "of birch", "dataset": "events"}),
    Record("sentry.querysubscription", 1, {"project": 1, "snuba_query": 1}),
    Record("sentry.querysubscription", 2, {"project": 2, "snuba_query": 2}),
    Record("sentry.notificationaction", 1, {"organization": 1, "type": 1}),
]


@pytest.fixture(scope="module")
def engine(databases: Databases) -> Iterator[Engine]:
    """A destination with the records of this file."""
    engine = databases.embedded()
    put(engine, RECORDS)
    yield engine
    databases.remove(engine)


def put(engine: Engine, records: Collection[Record]) -> None:
    tables = reflect(engine, load_catalogue().values())
    [loaded] = load_existing(engine, tables, [RecordList(records, load_catalogue())])
    assert sum(map(len, loaded.values())) == len(records)


def exported(
    engine: Engine,
    scope: Scope,
    *,
    organizations: Collection[str] | None = None,
    usernames: Collection[str] | None = None,
    privileged_only: bool = False,
) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for record in export_records(
        engine,
        scope=scope,
        organizations=organizations,
        usernames=usernames,
        privileged_only=privileged_only,
    ):
        found.setdefault(record.model.removeprefix("sentry."), []).append(record.pk)
    return found


def test_a_user_filter_takes_that_user_and_the_addresses(engine: Engine) -> None:
    """A-3"""
    assert exported(engine, Scope.USER, usernames=["ann"]) == {
        "user": [1],
        "email": [1],
        "useremail": [1],
    }


def test_users_who_share_an_address_share_its_row(engine: Engine) -> None:
    """A-4, E-5: the row is spelled in another case."""
    assert exported(engine, Scope.USER, usernames=["ann", "bob", "cleo"]) == {
        "user": [1, 2, 3],
        "email": [1, 2],
        "useremail": [1, 2, 3],
    }


def test_an_empty_user_filter_takes_nothing(engine: Engine) -> None:
    """A-5, E-11"""
    assert exported(engine, Scope.USER, usernames=[]) == {}


def test_an_empty_organization_filter_takes_no_organization_and_no_user(engine: Engine) -> None:
    """A-5, I-42"""
    assert exported(engine, Scope.ORGANIZATION, organizations=[]) == {}


def test_a_username_that_nobody_has_takes_nothing(engine: Engine) -> None:
    """A-110"""
    assert exported(engine, Scope.USER, usernames=["nobody"]) == {}


def test_one_organization_takes_its_own_records_and_members_alone(engine: Engine) -> None:
    """A-6"""
    assert exported(engine, Scope.ORGANIZATION, organizations=["acme"]) == {
        "organization": [1],
        "team": [1],
        "user": [1, 2, 3],
        "project": [1],
        "orgauthtoken": [1],
        "organizationmember": [1, 2, 3],
        "email": [1, 2],
        "dashboard": [1],
        "useremail": [1, 2, 3],
        "snubaquery": [1],
        "rule": [1],
        "querysubscription": [1],
        "notificationaction": [1],
    }


def test_two_organizations_take_no_other_users(engine: Engine) -> None:
    """A-7"""
    found = exported(engine, Scope.ORGANIZATION, organizations=["acme", "birch"])
    assert found["organization"] == [1, 2]
    assert found["orgauthtoken"] == [1, 2]
    assert found["organizationmember"] == [1, 2, 3, 4, 5]
    assert found["user"] == [1, 2, 3, 5]
    assert found["snubaquery"] == [1, 2]


def test_config_scope_takes_privileged_accounts_alone(engine: Engine) -> None:
    """A-8, E-6: by flag, permission and role."""
    found = exported(engine, Scope.CONFIG, privileged_only=True)
    assert found["user"] == [1, 2, 4, 5]
    assert found["userrole"] == [1]
    assert found["userroleuser"] == [1]
    assert found["userpermission"] == [1]
    assert found["useremail"] == [1, 2, 4, 5]
    assert "organization" not in found


def test_config_scope_takes_tokens_of_no_application(engine: Engine) -> None:
    """S-4"""
    assert exported(engine, Scope.CONFIG)["apitoken"] == [1]
    assert exported(engine, Scope.GLOBAL)["apitoken"] == [1, 2]


@pytest.mark.parametrize("scope", [Scope.CONFIG, Scope.GLOBAL])
def test_traces_of_running_processes_are_never_taken(engine: Engine, scope: Scope) -> None:
    """I-61"""
    found = exported(engine, scope)
    assert found["option"] == [1]
    assert "controloption" not in found


def test_dates_have_three_fractional_digits(engine: Engine) -> None:
    """A-9"""
    records = list(export_records(engine, scope=Scope.USER, usernames=["ann"]))
    dates = [r.fields[field] for r in records for field in ("date_joined", "date_added")
             if r.fields.get(field)]  # fmt: skip
    assert dates == [DATE, DATE]


def test_who_left_takes_nothing_along(engine: Engine) -> None:
    """W-18: a rule's owner and a member's inviter are no members, and both records stay."""
    records = list(export_records(engine, scope=Scope.ORGANIZATION, organizations=["acme"]))
    [rule] = [record for record in records if record.model == "sentry.rule"]
    assert rule.fields["owner_user_id"] == 4
    assert not [r for r in records if r.model == "sentry.user" and r.pk == 4]


def test_nothing_that_names_another_organization_is_taken(destination: Engine) -> None:
    """E-4: in the example, whose organizations share people."""
    catalogue = load_catalogue()
    admitted = {model.name for model in catalogue.admitted(Scope.ORGANIZATION)}
    put(destination, [r for r in example_export(organizations=3) if r.model in admitted])
    records = list(export_records(destination, scope=Scope.ORGANIZATION, organizations=["acme"]))
    [acme] = [record.pk for record in records if record.model == "sentry.organization"]
    pks = {(record.model, record.pk) for record in records}
    for record in records:
        for field, key in catalogue[record.model].foreign_keys.items():
            pk = record.fields.get(field)
            if key.to == "sentry.organization":
                assert pk in (None, acme)
            elif pk is not None and key.to != "sentry.user":
                assert (key.to, pk) in pks
    assert len(Counter(record.model for record in records)) > 15


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_takes_the_models_it_admits_in_order(engine: Engine, scope: Scope) -> None:
    """A-2, E-3, T-12"""
    records = list(export_records(engine, scope=scope))
    models = [model.name for model in load_catalogue().admitted(scope)]
    places = [(models.index(record.model), record.pk) for record in records]
    assert places == sorted(places)
    taken = {record.model for record in records}
    assert taken == {r.model for r in RECORDS if r.model in models} - {"sentry.controloption"}


def test_an_export_that_is_given_up_leaves_no_lock(engine: Engine) -> None:
    records = export_records(engine, scope=Scope.GLOBAL)
    assert isinstance(records, Generator)
    next(records)
    records.close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE sentry_team SET name = 'a' WHERE id = 1"))


def test_a_live_source_can_be_read_again(engine: Engine) -> None:
    source = LiveSource(engine, reflect(engine, load_catalogue().values()))
    first = [list(source.records(model)) for model in source.models()]
    assert first == [list(source.records(model)) for model in source.models()]
    assert sum(map(len, first)) == len(RECORDS)


def test_a_rule_of_no_organization_is_taken_along_by_none(destination: Engine) -> None:
    """It may be another tenant's, though it shares a query with a rule that is taken."""
    theirs = {"snuba_query": 1, "name": "whose?", "status": 0, "threshold_period": 1}
    brought = [
        *RECORDS,
        Record("sentry.alertrule", 1, {**theirs, "organization": None}),
        Record("sentry.savedsearch", 1, {"name": "whose?", "query": "q", "is_global": False}),
    ]
    put(destination, brought)
    found = exported(destination, Scope.ORGANIZATION, organizations=["acme"])
    assert "alertrule" not in found
    assert "savedsearch" not in found
    assert exported(destination, Scope.ORGANIZATION)["alertrule"] == [1]


def test_organizations_of_a_database_without_any_are_an_error_of_its_operator(
    bare_destination: Engine,
) -> None:
    with pytest.raises(ConfigurationError, match="not a Sentry database"):
        list(export_records(bare_destination, scope=Scope.ORGANIZATION, organizations=["acme"]))

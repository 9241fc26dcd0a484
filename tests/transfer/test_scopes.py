"""What the four scopes bring, what they keep, and what they do with what is there (I-50 ...)."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypedDict, Unpack

import pytest
from destinations import Add, Rows
from sqlalchemy import Engine, insert

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import PermanentError
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.model import RecordCounts
from relocation.transfer.compare.comparing import compare
from relocation.transfer.compare.intended import CHANGES, Intended
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.existing import load_existing
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.source import RecordList

DATE = "2023-06-22T22:54:28.773Z"


class FurtherOptions(TypedDict, total=False):
    """What an import may be told besides its scope."""

    hide: bool
    merge_users: bool
    overwrite_configs: bool


class Take(Protocol):
    """Imports records under a relocation id of its own."""

    def __call__(
        self, records: list[Record], scope: Scope, **options: Unpack[FurtherOptions]
    ) -> ImportReport: ...


@pytest.fixture
def take(destination: Engine) -> Take:
    """Imports records under a relocation id of its own."""
    taken = iter(range(100))

    def run(records: list[Record], scope: Scope, **options: Unpack[FurtherOptions]) -> ImportReport:
        name = f"relocation-{next(taken)}"
        bind(destination, name, 1)
        source = RecordList(records, load_catalogue())
        return import_records(
            destination, source, relocation_id=name, fence=1, scope=scope, **options
        )

    return run


def user(pk: int, username: str, **fields: object) -> Record:
    powers = {"is_staff": True, "is_superuser": True, "is_managed": True, "is_unclaimed": False}
    dates = {"date_joined": DATE, "last_password_change": DATE, "is_password_expired": True}
    named = {"username": username, "email": f"{username}@example.org", "password": "kept"}
    return Record("sentry.user", pk, {**named, "is_active": True, **powers, **dates, **fields})


def organization(pk: int, slug: str) -> Record:
    return Record("sentry.organization", pk, {"name": slug, "slug": slug, "status": 0})


def member(pk: int, of: int, person: int) -> Record:
    fields = {"organization": of, "user_id": person, "role": "member", "flags": "0"}
    return Record("sentry.organizationmember", pk, fields)


def option(pk: int, key: str, value: object) -> Record:
    return Record("sentry.option", pk, {"key": key, "value": value, "last_updated": DATE})


def relay(pk: int, relay_id: str, public_key: str) -> Record:
    return Record("sentry.relay", pk, {"relay_id": relay_id, "public_key": public_key})


def role(pk: int, name: str, permissions: str) -> Record:
    return Record("sentry.userrole", pk, {"name": name, "permissions": permissions})


PERSON = [
    user(7, "ann"),
    Record("sentry.email", 1, {"email": "ann@example.org", "date_added": DATE}),
    Record("sentry.useremail", 1, {"user": 7, "email": "ann@example.org", "is_verified": True}),
    Record("sentry.useroption", 1, {"user": 7, "key": "timezone", "value": '"UTC"'}),
    Record("sentry.userpermission", 1, {"user": 7, "permission": "users.admin"}),
    role(1, "admin", "['users.admin']"),
    Record("sentry.userroleuser", 1, {"user": 7, "role": 1}),
    Record("sentry.authenticator", 1, {"user": 7, "type": 1, "config": '""', "created_at": DATE}),
]
MODELS = ("sentry.user", "sentry.useremail", "sentry.useroption", "sentry.userpermission")


@pytest.mark.parametrize(
    ("scope", "privileged", "claimed", "granted", "authenticators"),
    [
        (Scope.USER, False, False, 0, 0),
        (Scope.ORGANIZATION, False, False, 0, 0),
        (Scope.CONFIG, True, False, 1, 0),
        (Scope.GLOBAL, True, True, 1, 1),
    ],
)
def test_a_scope_keeps_what_it_is_for(
    take: Take,
    rows: Rows,
    scope: Scope,
    *,
    privileged: bool,
    claimed: bool,
    granted: int,
    authenticators: int,
) -> None:
    """A-20, A-21, A-22, A-23, A-24, A-35: people, privileges, permissions, grants and passwords."""
    take(PERSON, scope)
    [ann] = rows("sentry.user")
    assert {ann["is_staff"], ann["is_superuser"], ann["is_managed"]} == {privileged}
    assert (not ann["is_unclaimed"], ann["password"] == "kept") == (claimed, claimed)
    assert ann["is_password_expired"] is claimed
    assert rows("sentry.useremail")[0]["is_verified"] is claimed
    assert len(rows("sentry.userpermission")) == len(rows("sentry.userroleuser")) == granted
    assert len(rows("sentry.authenticator")) == authenticators


@pytest.mark.parametrize("scope", [Scope.USER, Scope.ORGANIZATION, Scope.CONFIG])
def test_a_user_who_is_there_is_used_when_merging(
    take: Take, rows: Rows, add: Add, scope: Scope
) -> None:
    """A-41: nothing of the account changes, and what the file says of it is left out."""
    take([user(1, "ann", name="The one who is here")], Scope.USER)
    before = {model: rows(model) for model in MODELS}
    [there] = before["sentry.user"]
    brought = [*PERSON, organization(5, "acme"), member(1, 5, 7)]
    report = take(brought, scope, merge_users=True)
    assert {model: rows(model) for model in MODELS} == before
    assert rows("sentry.userroleuser") == []
    assert report.accounts["sentry.user"] == RecordCounts(read=1, merged=1)
    assert report.accounts["sentry.useremail"] == RecordCounts(read=1, skipped=1)
    left_out = {one.model for one in report.findings if one.kind is FindingKind.EXISTING_USER}
    assert {"sentry.useremail", "sentry.useroption"} <= left_out
    members = [one["user_id"] for one in rows("sentry.organizationmember")]
    assert members == ([there["id"]] if scope is Scope.ORGANIZATION else [])


@pytest.mark.parametrize("scope", [Scope.USER, Scope.ORGANIZATION, Scope.CONFIG])
def test_a_user_who_is_there_stays_apart_without_merging(
    take: Take, rows: Rows, scope: Scope
) -> None:
    """A-42."""
    take(PERSON, scope)
    before = {model: rows(model) for model in MODELS}
    report = take(PERSON, scope)
    assert report.accounts["sentry.user"] == RecordCounts(read=1, inserted=1)
    assert {model: rows(model)[: len(found)] for model, found in before.items()} == before
    assert rows("sentry.user")[1]["username"].startswith("ann-")


def test_a_name_in_another_case_is_no_reason_to_merge(take: Take, rows: Rows) -> None:
    take([user(1, "ann")], Scope.USER)
    report = take([user(1, "Ann")], Scope.USER, merge_users=True)
    assert report.accounts["sentry.user"] == RecordCounts(read=1, inserted=1)
    assert len(rows("sentry.user")) == 2


def test_merging_is_remembered_by_a_second_start(
    destination: Engine, take: Take, rows: Rows
) -> None:
    """I-57: what an earlier process merged has its children left out by the next one."""
    take([user(1, "ann")], Scope.USER)
    bind(destination, "two", 1)

    class Killed(BaseException):
        pass

    def die(model: str, _: int) -> None:
        if model == "sentry.user":
            raise Killed

    source = RecordList([user(7, "ann"), PERSON[2]], load_catalogue())
    again = partial(
        import_records, destination, source, relocation_id="two", fence=1, merge_users=True
    )
    with pytest.raises(Killed):
        again(progress=die)
    report = again()
    assert report.accounts["sentry.useremail"] == RecordCounts(read=1, skipped=1)
    assert rows("sentry.useremail") == []


CONFIG = [
    option(1, "system.url", '"new"'),
    relay(1, "relay-1", "new"),
    Record("sentry.relayusage", 1, {"relay_id": "relay-1", "version": "1", "public_key": "new"}),
    role(1, "admin", "['new']"),
    Record("sentry.controloption", 1, {"key": "mail.from", "value": '"new"'}),
]


def config(rows: Rows) -> list[tuple[int, str]]:
    fields = {"sentry.relay": "public_key", "sentry.userrole": "permissions"}
    fields |= {"sentry.relayusage": "public_key"}
    models = [record.model for record in CONFIG]
    return [(one["id"], one[fields.get(model, "value")]) for model in models for one in rows(model)]


@pytest.fixture
def old_config(take: Take, rows: Rows) -> list[tuple[int, str]]:
    """Settings of the destination that differ from those of the export."""
    old = [
        record._replace(pk=9, fields={k: v.replace("new", "old") for k, v in record.fields.items()})
        for record in CONFIG
    ]
    take(old, Scope.CONFIG)
    found = config(rows)
    assert len(found) == len(CONFIG)
    assert all("old" in value for _, value in found)
    return found


def test_settings_that_are_there_stay(
    take: Take, rows: Rows, old_config: list[tuple[int, str]]
) -> None:
    """A-43, I-60."""
    report = take(CONFIG, Scope.CONFIG)
    assert config(rows) == old_config
    assert set(report.accounts.values()) == {RecordCounts(read=1, merged=1)}


def test_settings_that_are_there_take_the_new_values_on_demand(
    take: Take, rows: Rows, old_config: list[tuple[int, str]]
) -> None:
    """A-43, I-60: in the rows that are there, under their keys."""
    report = take(CONFIG, Scope.CONFIG, overwrite_configs=True)
    assert config(rows) == [(pk, value.replace("old", "new")) for pk, value in old_config]
    assert set(report.accounts.values()) == {RecordCounts(read=1, overwritten=1)}


def test_a_second_setting_of_one_key_in_one_file_is_told(take: Take, rows: Rows) -> None:
    report = take([option(1, "a", 1), option(2, "a", 2)], Scope.CONFIG)
    assert [one["value"] for one in rows("sentry.option")] == ["1"]
    assert report.accounts["sentry.option"] == RecordCounts(read=2, inserted=1, skipped=1)
    assert [(one.kind, one.pk) for one in report.findings] == [(FindingKind.DUPLICATE, 2)]


def test_grants_of_a_role_that_is_there_point_at_it(take: Take, rows: Rows) -> None:
    take([role(4, "admin", "[]")], Scope.CONFIG)
    take(PERSON, Scope.CONFIG)
    [there] = rows("sentry.userrole")
    assert [one["role"] for one in rows("sentry.userroleuser")] == [there["id"]]


PROJECT = [
    organization(3, "acme"),
    Record("sentry.project", 4511, {"organization": 3, "slug": "p", "name": "P"}),
    Record("sentry.projectkey", 1, {"project": 4511, "public_key": "a" * 32}),
]


def test_projects_keep_their_ids_in_a_global_import(
    destination: Engine, take: Take, rows: Rows
) -> None:
    """A-46, I-70, I-18: and the next project gets one that is free."""
    take(PROJECT, Scope.GLOBAL)
    assert [one["id"] for one in rows("sentry.project")] == [4511]
    assert rows("sentry.projectkey")[0]["project"] == 4511
    table = reflect(destination, [load_catalogue()["sentry.project"]])["sentry.project"].table
    there = rows("sentry.project")[0]["organization"]
    with destination.begin() as connection:
        row = insert(table).values(organization_id=there, slug="next", name="N")
        key = connection.execute(row).inserted_primary_key
    assert key is not None
    assert key[0] > 4511


def test_projects_get_other_ids_in_other_imports(take: Take, rows: Rows) -> None:
    """A-46"""
    take(PROJECT, Scope.ORGANIZATION)
    assert [one["id"] for one in rows("sentry.project")] != [4511]


def test_a_global_import_needs_an_empty_destination(take: Take, rows: Rows) -> None:
    """I-17 is not followed: nothing is emptied, and what is there stays."""
    take([option(1, "a", 1)], Scope.CONFIG)
    with pytest.raises(PermanentError, match=r"empty destination, but this one has sentry\.option"):
        take(PROJECT, Scope.GLOBAL)
    assert len(rows("sentry.option")) == 1
    assert rows("sentry.project") == []


def test_a_global_import_that_was_killed_goes_on(destination: Engine, rows: Rows) -> None:
    bind(destination, "one", 1)
    source = RecordList(PROJECT, load_catalogue())
    again = partial(
        import_records, destination, source, relocation_id="one", fence=1, scope=Scope.GLOBAL
    )

    def die(model: str, _: int) -> None:
        raise KeyboardInterrupt(model)

    with pytest.raises(KeyboardInterrupt):
        again(progress=die)
    again()
    assert len(rows("sentry.projectkey")) == 1


def test_a_global_search_comes_with_a_global_import_alone(take: Take, rows: Rows) -> None:
    """A-55, I-75"""
    search = Record("sentry.savedsearch", 1, {"is_global": True, "name": "all", "query": "q"})
    report = take([search], Scope.ORGANIZATION)
    assert report.accounts["sentry.savedsearch"] == RecordCounts(read=1, skipped=1)
    take([search], Scope.GLOBAL)
    assert len(rows("sentry.savedsearch")) == 1


def ip(pk: int, address: str) -> Record:
    fields = {"user": 7, "ip_address": address, "first_seen": DATE, "last_seen": DATE}
    return Record("sentry.userip", pk, fields)


def test_a_persons_addresses_collapse(take: Take, rows: Rows) -> None:
    """A-28"""
    report = take(
        [user(7, "ann"), ip(1, "127.0.0.1"), ip(2, "127.0.0.1"), ip(3, "::1")], Scope.GLOBAL
    )
    assert [str(one["ip_address"]) for one in rows("sentry.userip")] == ["127.0.0.1", "::1"]
    assert report.accounts["sentry.userip"] == RecordCounts(read=3, inserted=2, skipped=1)


def test_where_and_when_a_person_was_seen_is_not_taken_from_an_export(
    take: Take, rows: Rows
) -> None:
    """A-28, I-59: a country is empty until it is looked up anew."""
    place = {"country_code": "AT", "region_code": "9"}
    seen = ip(1, "127.0.0.1")
    take([user(7, "ann"), seen._replace(fields={**seen.fields, **place})], Scope.GLOBAL)
    (row,) = rows("sentry.userip")
    assert (row["country_code"], row["region_code"]) == (None, None)
    assert min(str(row["first_seen"]), str(row["last_seen"])) > "2024"


def test_what_is_no_ip_address_stops_the_import(take: Take) -> None:
    """A-28"""
    with pytest.raises(PermanentError, match=r"sentry\.userip 1 .* is not an IP address"):
        take([user(7, "ann"), ip(1, "0.1.2.3.4")], Scope.GLOBAL)


def token(pk: int, token: str, refresh: str | None, expires: str | None = DATE) -> Record:
    fields = {"user": 7, "token": token, "refresh_token": refresh, "expires_at": expires}
    return Record("sentry.apitoken", pk, {**fields, "scopes": "0", "date_added": DATE})


def test_only_what_is_taken_of_a_token_is_new(take: Take, rows: Rows) -> None:
    """A-50, I-80: neither, the token, the refresh token, both; and none stays none."""
    person = [user(7, "ann")]
    take([*person, token(1, "t1", "r1"), token(2, "t2", "r2"), token(3, "t3", "r3")], Scope.CONFIG)
    before = rows("sentry.apitoken")
    new = [("a", "b"), ("t1", "c"), ("d", "r2"), ("t3", "r3")]
    brought = [token(pk, one, other) for pk, (one, other) in enumerate(new, 10)]
    take([*person, *brought, token(20, "e", None, None)], Scope.CONFIG)
    after = rows("sentry.apitoken")
    assert after[:3] == before
    kept = [
        (row["token"] == one, row["refresh_token"] == other)
        for row, (one, other) in zip(after[3:], new, strict=False)
    ]
    assert kept == [(True, True), (False, True), (True, False), (False, False)]
    assert len({row["token"] for row in after}) == len(after)
    assert (after[7]["refresh_token"], after[7]["expires_at"]) == (None, None)
    assert all(row["expires_at"].year > 2023 for row in after[:7])


@pytest.mark.parametrize("scope", list(Scope))
def test_what_is_exported_imported_and_exported_again_is_the_same(
    make_destination: Callable[[], Engine], scope: Scope
) -> None:
    """A-1"""
    first, second = make_destination(), make_destination()
    example = list(example_export(organizations=1, members=3, projects=1))
    known = [one for one in [*example, *CONFIG] if one.model in load_catalogue()]
    tables = reflect(first, load_catalogue().values())
    load_existing(first, tables, [RecordList(known, load_catalogue())])
    left = RecordList(export_records(first, scope=scope), load_catalogue())
    assert len(left.models()) > {Scope.USER: 3, Scope.CONFIG: 7}.get(scope, 20)
    bind(second, "one", 1)
    report = import_records(second, left, relocation_id="one", fence=1, scope=scope)
    assert sum(one.inserted for one in report.accounts.values()) == sum(
        len(list(left.records(model))) for model in left.models()
    )
    right = RecordList(export_records(second, scope=scope), load_catalogue())
    assert compare(left, right, intended=Intended(CHANGES, report.findings)) == []

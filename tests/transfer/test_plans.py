"""A plan: who becomes which account, and what that account is safe from."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
from destinations import Add
from sqlalchemy import Engine, Row, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import RequestError
from relocation.example import example_export
from relocation.plan import Plan
from relocation.transfer.compare.arrival import verify_import
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.accounts import check_plan, propose
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import issue_claims
from relocation.transfer.load.rules import PERSONAL
from relocation.transfer.source import RecordList

CATALOGUE = load_catalogue()
ADMITTED = {model.name for model in CATALOGUE.admitted(Scope.ORGANIZATION)}
EXAMPLE = [r for r in example_export(organizations=1, members=3, projects=1) if r.model in ADMITTED]
USERS = {r.fields["username"]: r for r in EXAMPLE if r.model == "sentry.user"}
ANN, *OTHERS = USERS
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Account(Protocol):
    """Makes an account in the destination, with an address."""

    def __call__(
        self, username: str = "somebody", /, *, verified: bool = True, **fields: object
    ) -> int: ...


@pytest.fixture
def account(add: Add) -> Account:
    """Makes an account in the destination, with an address."""

    def make(username: str = "somebody", /, *, verified: bool = True, **fields: object) -> int:
        email = fields.pop("email", f"{username}@example.org")
        values = {
            "username": username,
            "email": email,
            "password": "theirs",
            "is_active": True,
            "is_staff": False,
            "is_superuser": False,
            "is_unclaimed": False,
            "date_joined": NOW,
            **fields,
        }
        pk = add("sentry.user", **values)
        add("sentry.useremail", user=pk, email=email, is_verified=verified, validation_hash="x")
        return pk

    return make


def relocate(engine: Engine, plan: Plan, records: list[Record] = EXAMPLE) -> str:
    relocation_id = str(uuid.uuid4())
    bind(engine, relocation_id, 1)
    source = RecordList(records, CATALOGUE)
    import_records(engine, source, relocation_id=relocation_id, fence=1, plan=plan)
    return relocation_id


def personal(user: int) -> list[Record]:
    """What is a person's own, of every kind that names one, in the export of an organization."""
    (organization,) = [r.pk for r in EXAMPLE if r.model == "sentry.organization"]
    (project, *_) = [r.pk for r in EXAMPLE if r.model == "sentry.project"]
    date = "2023-06-22T22:54:28.773Z"
    search = {"organization": organization, "type": 0, "query": "mine", "date_added": date}
    return [
        Record("sentry.recentsearch", 901, {**search, "user_id": user, "last_seen": date}),
        Record(
            "sentry.savedsearch",
            901,
            {**search, "name": "mine", "owner_id": user, "visibility": "owner", "is_global": False},
        ),
        Record(
            "sentry.projectbookmark",
            901,
            {"project": project, "user_id": user, "date_added": date},
        ),
        Record("sentry.useroption", 901, {"user": user, "key": "theme", "value": '"dark"'}),
        Record(
            "sentry.userip",
            901,
            {"user": user, "ip_address": "192.0.2.1", "first_seen": date, "last_seen": date},
        ),
    ]


def rows_about(engine: Engine, user: int) -> dict[str, Sequence[Row[Any]]]:
    """Every row of the destination that names a user."""
    found = {}
    with engine.connect() as connection:
        for table in reflect(engine, CATALOGUE.values()).values():
            model = table.model
            for field, key in model.foreign_keys.items():
                if key.to == "sentry.user" and field in table.fields:
                    column = model.columns[field]
                    query = text(f"SELECT * FROM {model.table} WHERE {column} = :user ORDER BY id")
                    if rows := connection.execute(query, {"user": user}).all():
                        found[f"{model.name}.{field}"] = rows
        account = text("SELECT * FROM auth_user WHERE id = :user")
        found["sentry.user"] = connection.execute(account, {"user": user}).all()
    return found


def test_an_account_gets_memberships_and_nothing_else(
    destination: Engine, account: Account
) -> None:
    target = account()
    before = rows_about(destination, target)
    old = USERS[ANN].pk
    records = [r for r in EXAMPLE if r.model != "sentry.dashboard"] + personal(old)
    relocation_id = relocate(destination, Plan(users={ANN: target}), records)
    after = rows_about(destination, target)
    gained = {name for name, rows in after.items() if rows != before.get(name)}
    # Where somebody invited another, made or owns what all share, its record says who it was.
    said_of_others = {"inviter_id", "owner_user_id", "created_by", "created_by_id"}
    assert {name for name in gained if name.rpartition(".")[2] not in said_of_others} <= {
        "sentry.organizationmember.user_id",
        "sentry.alertrule.user_id",
        "sentry.ruleactivity.user_id",
        "sentry.alertruleactivity.user_id",
        "sentry.rulesnooze.owner_id",
        "sentry.savedsearch.owner_id",
    }
    with destination.connect() as connection:
        mine = "SELECT count(*) FROM sentry_savedsearch WHERE name = 'mine'"
        assert connection.execute(text(mine)).scalar_one() == 0
    assert len(after["sentry.organizationmember.user_id"]) == 1
    assert after["sentry.user"] == before["sentry.user"]
    assert target not in {
        claim.user_id for claim in issue_claims(destination, relocation_id, 1, NOW)
    }
    with destination.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM auth_user")).scalar_one()
    assert count == 1 + len(OTHERS)


def test_a_membership_says_the_address_of_its_account(
    destination: Engine, account: Account
) -> None:
    pk = account("annette", email="annette@here.example.org")
    relocation_id = relocate(destination, Plan(users={ANN: pk}))
    query = text("SELECT user_id, user_email FROM sentry_organizationmember")
    with destination.connect() as connection:
        addresses = dict(map(tuple, connection.execute(query)))
    assert addresses.pop(pk) == "annette@here.example.org"
    given = {r.fields["user_email"] for r in EXAMPLE if r.model == "sentry.organizationmember"}
    assert set(addresses.values()) < given
    assert verify_import(destination, RecordList(EXAMPLE, CATALOGUE), relocation_id) == []


def test_nobody_is_merged_whom_the_plan_does_not_name(
    destination: Engine, account: Account
) -> None:
    target = account(ANN, email=USERS[ANN].fields["email"])
    before = rows_about(destination, target)
    relocate(destination, Plan())
    assert rows_about(destination, target) == before


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"is_staff": True}, "has privileges"),
        ({"is_superuser": True}, "has privileges"),
        ({"is_active": False}, "is not active"),
    ],
)
def test_an_account_that_may_not_be_used_is_never_a_target(
    destination: Engine, account: Account, fields: dict[str, bool], said: str
) -> None:
    target = account(**fields)
    before = rows_about(destination, target)
    plan = Plan(users={ANN: target})
    with pytest.raises(RequestError, match=said):
        check_plan(destination, plan, list(USERS))
    with pytest.raises(RequestError, match=said):
        relocate(destination, plan)
    assert rows_about(destination, target) == before
    with destination.connect() as connection:
        assert not connection.execute(text("SELECT 1 FROM sentry_organization")).all()


@pytest.mark.parametrize("power", ["permission", "role"])
def test_an_account_with_a_permission_or_a_role_is_never_a_target(
    destination: Engine, account: Account, add: Add, power: str
) -> None:
    target = account()
    if power == "permission":
        add("sentry.userpermission", user=target, permission="users.admin")
    else:
        dates = {"date_added": NOW, "date_updated": NOW}
        role = add("sentry.userrole", name="admin", permissions="[]", **dates)
        add("sentry.userroleuser", user=target, role=role, **dates)
    with pytest.raises(RequestError, match="has privileges"):
        relocate(destination, Plan(users={ANN: target}))


def test_a_plan_that_names_nobody_is_refused(destination: Engine) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        check_plan(destination, Plan(users={ANN: 4711}), list(USERS))
    with pytest.raises(RequestError, match="not being moved"):
        check_plan(destination, Plan(users={"stranger": 1}), list(USERS))


def test_an_organization_gets_the_slug_of_the_plan_or_none(
    destination: Engine, account: Account
) -> None:
    relocate(destination, Plan(slugs={"acme": "globex"}))
    with destination.connect() as connection:
        query = text("SELECT slug FROM sentry_organization")
        assert connection.execute(query).scalars().all() == ["globex"]
    again = Plan(slugs={"acme": "globex"})
    with pytest.raises(RequestError, match="taken"):
        check_plan(destination, again, list(USERS))
    with pytest.raises(RequestError, match="not available"):
        relocate(destination, again)
    with destination.connect() as connection:
        assert connection.execute(query).scalars().all() == ["globex"]


def test_what_a_plan_changes_is_no_difference_in_trial_or_verification(
    destination: Engine, account: Account, tmp_path: Path
) -> None:
    target = account()
    plan = Plan(users={ANN: target}, slugs={"acme": "globex"})
    named = check_plan(destination, plan, list(USERS))
    colliding = export_records(destination, scope=Scope.USER, usernames=[*USERS, *named])
    trial = try_import(
        destination,
        RecordList(EXAMPLE, CATALOGUE),
        baseline=RecordList([], CATALOGUE),
        colliding=RecordList(colliding, CATALOGUE),
        relocation_id=str(uuid.uuid4()),
        chunk_records=50,
        folder=tmp_path,
        plan=plan,
    )
    assert trial.findings == ()
    relocation_id = relocate(destination, plan)
    assert verify_import(destination, RecordList(EXAMPLE, CATALOGUE), relocation_id) == []


def test_only_the_destinations_word_on_an_address_makes_a_candidate(
    destination: Engine, account: Account
) -> None:
    verified = account("v", email="Shared@example.org")
    account("u", email="unverified@example.org", verified=False)
    root = account("root", email="root@example.org", is_superuser=True)
    users = {
        "ann": ["shared@EXAMPLE.org"],
        "bob": ["unverified@example.org"],
        "eve": ["root@example.org"],
        "u": ["nobody@example.org"],
    }
    rows = {row["name"]: row for row in propose(destination, users, ["acme"])}
    assert {name: (rows[name]["status"], rows[name]["candidate"]) for name in users} == {
        "ann": ("exists", str(verified)),
        "bob": ("new", ""),
        "eve": ("new", ""),
        "u": ("renamed", ""),
    }
    assert f"Account {root} has privileges" in rows["eve"]["note"]
    assert rows["acme"]["status"] == "free"
    assert not any(row.get("becomes") for row in rows.values())


def test_every_model_that_is_of_one_person_alone_is_known_as_such() -> None:
    """A new one would bring more than memberships; a dashboard is everybody's, whoever made it."""
    of_a_person = {
        model.name
        for model in CATALOGUE.admitted(Scope.ORGANIZATION)
        if Scope.USER not in model.scopes
        for key in model.foreign_keys.values()
        if key.to == "sentry.user" and not key.nullable
    }
    assert of_a_person - PERSONAL.keys() == {"sentry.dashboard"}

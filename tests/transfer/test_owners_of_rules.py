"""Rules keep their owners between versions that have actors and versions that have none."""

from typing import Any, Unpack

import pytest
from destinations import ImportOptions
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.findings import FindingKind
from relocation.model import RecordCounts
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.load.rollback import roll_back
from relocation.transfer.source import RecordList

DATE = "2026-06-22T22:54:28.773Z"


def user(pk: int, name: str) -> Record:
    address = f"{name}@example.org"
    fields = {"username": name, "email": address, "is_active": True, "date_joined": DATE}
    return Record("sentry.user", pk, fields)


def rule(pk: int, **owner: int | None) -> Record:
    return Record("sentry.rule", pk, {"project": 20, "label": f"R{pk}", "data": "{}", **owner})


def alert(pk: int, **owner: int | None) -> Record:
    return Record("sentry.alertrule", pk, {"organization": 5, "name": f"A{pk}", **owner})


def actor(pk: int, *, team: int | None = None, user_id: int | None = None) -> Record:
    fields = {"type": int(user_id is not None), "team": team, "user_id": user_id}
    return Record("sentry.actor", pk, fields)


ACME = (
    Record("sentry.organization", 5, {"name": "acme", "slug": "acme", "status": 0}),
    user(7, "ann"),
    user(8, "bob"),
    Record("sentry.team", 11, {"organization": 5, "name": "T", "slug": "t"}),
    Record("sentry.team", 12, {"organization": 5, "name": "U", "slug": "u"}),
    Record("sentry.project", 20, {"organization": 5, "name": "P", "slug": "p"}),
)
WITH_ACTORS = (
    *ACME,
    *(actor(31, team=11), actor(32, team=12), actor(33, user_id=8)),
    *(rule(1, owner=32), rule(2, owner=33), rule(3, owner=None)),
    *(alert(1, owner=31), alert(2, owner=33)),
)
WITHOUT_ACTORS = (
    *ACME,
    rule(1, owner_team=12, owner_user_id=None),
    rule(2, owner_team=None, owner_user_id=8),
    rule(3, owner_team=None, owner_user_id=None),
    alert(1, team=11, user_id=None),
    alert(2, team=None, user_id=8),
)
EXPORTS = pytest.mark.parametrize(
    "export", [WITH_ACTORS, WITHOUT_ACTORS], ids=["from actors", "from teams and users"]
)


def run(engine: Engine, *records: Record, **options: Unpack[ImportOptions]) -> ImportReport:
    bind(engine, "one", 1)
    source = RecordList(records, load_catalogue())
    return import_records(engine, source, relocation_id="one", fence=1, **options)


def ask(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def older(destination: Engine) -> Engine:
    """A destination as an older version has it: actors own, and teams know theirs."""
    key = "BIGSERIAL" if destination.dialect.name == "postgresql" else "INTEGER"
    with destination.begin() as connection:
        for statement in (
            f"CREATE TABLE sentry_actor (id {key} PRIMARY KEY, type SMALLINT NOT NULL,"
            " user_id BIGINT UNIQUE REFERENCES auth_user(id),"
            " team_id BIGINT UNIQUE REFERENCES sentry_team(id))",
            "ALTER TABLE sentry_team ADD actor_id BIGINT REFERENCES sentry_actor(id)",
            "ALTER TABLE sentry_rule ADD owner_id BIGINT REFERENCES sentry_actor(id)",
            "ALTER TABLE sentry_rule RENAME owner_team_id TO gone_1",
            "ALTER TABLE sentry_rule RENAME owner_user_id TO gone_2",
            "ALTER TABLE sentry_alertrule ADD owner_id BIGINT REFERENCES sentry_actor(id)",
            "ALTER TABLE sentry_alertrule RENAME team_id TO gone_1",
            "ALTER TABLE sentry_alertrule RENAME user_id TO gone_2",
        ):
            connection.execute(text(statement))
    return destination


BY_ACTOR = """
    SELECT {name}, slug, username FROM {table} AS owned
    LEFT JOIN sentry_actor ON sentry_actor.id = owner_id
    LEFT JOIN sentry_team ON sentry_team.id = sentry_actor.team_id
    LEFT JOIN auth_user ON auth_user.id = sentry_actor.user_id ORDER BY 1
"""
BY_NAME = """
    SELECT {name}, slug, username FROM {table} AS owned
    LEFT JOIN sentry_team ON sentry_team.id = owned.{team}
    LEFT JOIN auth_user ON auth_user.id = owned.{user} ORDER BY 1
"""
RULES = [("R1", "u", None), ("R2", None, "bob"), ("R3", None, None)]
ALERTS = [("A1", "t", None), ("A2", None, "bob")]


@EXPORTS
def test_owners_arrive_where_actors_own(older: Engine, export: tuple[Record, ...]) -> None:
    report = run(older, *export)
    assert report.findings == ()
    assert ask(older, BY_ACTOR.format(name="label", table="sentry_rule")) == RULES
    assert ask(older, BY_ACTOR.format(name="owned.name", table="sentry_alertrule")) == ALERTS


@EXPORTS
def test_every_team_has_its_actor_where_actors_own(
    older: Engine, export: tuple[Record, ...]
) -> None:
    """A team without one breaks what the product stores about it later."""
    run(older, *export)
    pairs = ask(
        older,
        "SELECT slug, type, team_id = sentry_team.id FROM sentry_team"
        " LEFT JOIN sentry_actor ON sentry_actor.id = sentry_team.actor_id ORDER BY 1",
    )
    assert pairs == [("t", 0, True), ("u", 0, True)]
    assert len(ask(older, "SELECT id FROM sentry_actor")) == 3


@EXPORTS
def test_owners_arrive_where_teams_and_users_own(
    destination: Engine, export: tuple[Record, ...]
) -> None:
    report = run(destination, *export)
    rules = BY_NAME.format(
        name="label", table="sentry_rule", team="owner_team_id", user="owner_user_id"
    )
    alerts = BY_NAME.format(
        name="owned.name", table="sentry_alertrule", team="team_id", user="user_id"
    )
    assert ask(destination, rules) == RULES
    assert ask(destination, alerts) == ALERTS
    kinds = {(one.kind, one.model) for one in report.findings}
    assert kinds <= {(FindingKind.OUT_OF_SCOPE, "sentry.actor")}
    assert "sentry.actor" not in report.left_behind()


def test_a_merged_user_keeps_the_actor_that_is_there(older: Engine) -> None:
    with older.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO auth_user (id, username, email, password, is_active, is_staff,"
                " is_superuser, date_joined) VALUES (99, 'bob', '', '', TRUE, FALSE, FALSE,"
                " '2020-01-01 00:00:00')"
            )
        )
        connection.execute(text("INSERT INTO sentry_actor (id, type, user_id) VALUES (77, 1, 99)"))
        if older.dialect.name == "postgresql":
            for table in ("auth_user", "sentry_actor"):
                sequence = f"pg_get_serial_sequence('{table}', 'id')"
                connection.execute(text(f"SELECT setval({sequence}, 100)"))
    report = run(older, *WITH_ACTORS, merge_users=True)
    assert report.accounts["sentry.actor"] == RecordCounts(read=3, inserted=2, merged=1)
    assert ask(older, "SELECT owner_id FROM sentry_rule WHERE label = 'R2'") == [(77,)]


def test_an_actor_that_stands_for_nobody_leaves_its_rule_without_an_owner(older: Engine) -> None:
    report = run(older, *ACME, actor(1), actor(2, team=404), rule(1, owner=1), rule(2, owner=2))
    assert ask(older, "SELECT owner_id FROM sentry_rule") == [(None,), (None,)]
    assert report.accounts["sentry.actor"].dropped == 2
    nulled = [one for one in report.findings if one.kind is FindingKind.NULLED_REFERENCE]
    assert [(one.model, one.field, one.pk) for one in nulled] == [
        ("sentry.rule", "owner", 1),
        ("sentry.rule", "owner", 2),
    ]


@EXPORTS
def test_a_roll_back_takes_the_actors_along(older: Engine, export: tuple[Record, ...]) -> None:
    before = [ask(older, f"SELECT * FROM {name}") for name in ("sentry_actor", "sentry_team")]
    run(older, *export)
    roll_back(older, "one", 1)
    after = [ask(older, f"SELECT * FROM {name}") for name in ("sentry_actor", "sentry_team")]
    assert before == after == [[], []]


def test_an_import_that_was_killed_goes_on_with_the_same_actors(older: Engine) -> None:
    def stop(model: str, _records: int) -> None:
        if model == "sentry.actor":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(older, *WITHOUT_ACTORS, chunk_records=1, progress=stop)
    assert 0 < len(ask(older, "SELECT id FROM sentry_actor")) <= 3
    run(older, *WITHOUT_ACTORS, chunk_records=1)
    assert ask(older, BY_ACTOR.format(name="label", table="sentry_rule")) == RULES
    assert len(ask(older, "SELECT id FROM sentry_actor")) == 3

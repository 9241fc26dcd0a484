"""Destinations that differ from the catalogue: coped with, or refused with each place named."""

from pathlib import Path

import pytest
from destinations import Rows
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.errors import ConfigurationError
from relocation.findings import FindingKind
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.importing import ImportReport, bind, import_records, import_report
from relocation.transfer.source import RecordList

ID = "0b7f3f6e-9d5b-4c55-8d5c-6a4f0d2c9a11"
SOURCE = RecordList(
    [
        Record("sentry.organization", 1, {"name": "Acme", "slug": "acme", "status": 0}),
        Record("sentry.team", 1, {"organization": 1, "name": "T", "slug": "team"}),
        Record("sentry.team", 2, {"organization": 1, "name": "Longer name", "slug": "other"}),
        Record("sentry.project", 1, {"organization": 1, "name": "P", "slug": "p", "platform": "x"}),
    ],
    load_catalogue(),
)
postgresql_only = pytest.mark.parametrize(
    "databases", ["postgresql"], indirect=True, scope="session"
)


def alter(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def run(engine: Engine) -> ImportReport:
    bind(engine, "one", 1)
    return import_records(engine, SOURCE, relocation_id="one", fence=1)


def again(engine: Engine, table: str, columns: str) -> None:
    """Make a table anew, with other columns beside its key."""
    kind = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER"
    cascade = "CASCADE" if engine.dialect.name == "postgresql" else ""
    alter(
        engine,
        f"DROP TABLE {table} {cascade}",
        f"CREATE TABLE {table} (id {kind} PRIMARY KEY, {columns})",
    )


def test_every_misfit_is_named_at_once_and_nothing_is_written(
    destination: Engine, rows: Rows
) -> None:
    """W-24: a table, a column, a column too short, and one that the export cannot fill."""
    again(
        destination,
        "sentry_team",
        "organization_id BIGINT, name VARCHAR(4), slug VARCHAR(50), mood VARCHAR(9) NOT NULL",
    )
    again(destination, "sentry_project", "organization_id BIGINT, name VARCHAR(200)")
    with pytest.raises(ConfigurationError) as refused:
        run(destination)
    for place in ("sentry.team.mood", "sentry.team.name", "sentry.project.slug"):
        assert place in refused.value.internal
    assert "A value has 11 characters; the destination's column takes 4" in refused.value.internal
    assert "sentry.project.slug" in refused.value.reason
    assert "Longer" not in str(refused.value)
    assert rows("sentry.organization") == []
    assert import_report(destination, "one").accounts == {}


def test_a_shorter_column_that_is_long_enough_is_good(destination: Engine) -> None:
    again(destination, "sentry_team", "organization_id BIGINT, name VARCHAR(11), slug VARCHAR(50)")
    assert run(destination).inserted("sentry.team") == 2


def test_columns_that_the_catalogue_does_not_know_take_their_default(
    destination: Engine,
) -> None:
    alter(
        destination,
        "ALTER TABLE sentry_team ADD COLUMN mood VARCHAR(9) NOT NULL DEFAULT 'calm'",
        "ALTER TABLE sentry_team ADD COLUMN note VARCHAR(9)",
    )
    run(destination)
    with destination.connect() as connection:
        found = connection.execute(text("SELECT mood, note FROM sentry_team")).all()
    assert found == [("calm", None)] * 2


def test_a_computed_column_is_left_to_the_destination(destination: Engine, tmp_path: Path) -> None:
    alter(
        destination,
        "ALTER TABLE sentry_project DROP COLUMN platform",
        "ALTER TABLE sentry_project ADD COLUMN platform VARCHAR(64) "
        + "GENERATED ALWAYS AS (lower(slug)) "
        + ("STORED" if destination.dialect.name == "postgresql" else "VIRTUAL"),
    )
    nothing = RecordList([], load_catalogue())
    trial = try_import(
        destination,
        SOURCE,
        baseline=nothing,
        colliding=nothing,
        relocation_id=ID,
        chunk_records=9,
        folder=tmp_path,
    )
    assert trial.findings == ()
    report = run(destination)
    assert report.inserted("sentry.project") == 1
    told = [(one.kind, one.model, one.field) for one in report.findings]
    assert told == [(FindingKind.COMPUTED_COLUMN, "sentry.project", "platform")]


@postgresql_only
def test_columns_of_postgresqls_own_types_take_what_fits(
    destination: Engine, tmp_path: Path
) -> None:
    """Identity keys, choices, arrays, addresses, UUIDs and jsonb; tried first, in the scratch."""
    alter(
        destination,
        "CREATE TYPE mood AS ENUM ('calm', 'x')",
        "ALTER TABLE sentry_project ALTER platform TYPE mood USING platform::mood",
        "ALTER TABLE sentry_project ALTER id DROP DEFAULT",
        "ALTER TABLE sentry_project ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
        "ALTER TABLE sentry_orgauthtoken ALTER scope_list TYPE varchar[]"
        " USING scope_list::varchar[]",
        "ALTER TABLE sentry_monitor ALTER guid TYPE uuid USING guid::uuid",
        "ALTER TABLE sentry_monitor ALTER config TYPE jsonb USING config::jsonb",
    )
    guid = "7f3f6e0b-9d5b-4c55-8d5c-6a4f0d2c9a11"
    token = {"organization_id": 1, "token_hashed": "t", "name": "n", "scope_list": "['org:ci']"}
    monitor = {"organization_id": 1, "project_id": 1, "guid": guid, "config": {"a": [1, None]}}
    named = {"name": "M", "slug": "m", "status": 0, "type": 1}
    source = RecordList(
        [
            *(one for name in SOURCE.models() for one in SOURCE.records(name)),
            Record("sentry.orgauthtoken", 1, token),
            Record("sentry.monitor", 1, monitor | named),
        ],
        load_catalogue(),
    )
    nothing = RecordList([], load_catalogue())
    trial = try_import(
        destination,
        source,
        baseline=nothing,
        colliding=nothing,
        relocation_id=ID,
        chunk_records=9,
        folder=tmp_path,
    )
    assert trial.findings == ()
    bind(destination, "one", 1)
    import_records(destination, source, relocation_id="one", fence=1)
    with destination.connect() as connection:
        query = "SELECT platform::text, scope_list, guid != :guid, config->'a' FROM sentry_project"
        joined = f"{query}, sentry_orgauthtoken, sentry_monitor"
        found = connection.execute(text(joined), {"guid": guid}).one()
    assert found == ("x", ["org:ci"], True, [1, None])


@postgresql_only
def test_a_choice_that_a_column_does_not_know_is_named(destination: Engine) -> None:
    alter(
        destination,
        "CREATE TYPE mood AS ENUM ('calm')",
        "ALTER TABLE sentry_project ALTER platform TYPE mood USING platform::mood",
    )
    with pytest.raises(ConfigurationError, match=r"sentry\.project\.platform") as refused:
        run(destination)
    assert "does not know this choice" in refused.value.internal


@postgresql_only
def test_sequences_go_on_after_what_was_imported(destination: Engine) -> None:
    """I-18"""
    run(destination)
    alter(destination, "INSERT INTO sentry_team (organization_id, name, slug) SELECT"
          " id, 'N', 'new' FROM sentry_organization")  # fmt: skip
    with destination.connect() as connection:
        pks = list(connection.execute(text("SELECT id FROM sentry_team ORDER BY id")).scalars())
    assert len(set(pks)) == 3

"""What the steps after an import need of a destination is checked before it, and no more."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from relocation.catalogue import load_catalogue
from relocation.errors import ConfigurationError, PersonError
from relocation.model import RecordCounts
from relocation.transfer.database.schema import LOST_PASSWORDS, create_own_tables
from relocation.transfer.database.skew import NEEDED_LATER, check_later_steps
from relocation.transfer.load.chunks import GRANTED, Chunk, bind, fenced, write_chunk
from relocation.transfer.load.ownership import (
    grant_ownership,
    issue_claims,
    moved_organizations,
    reveal_organizations,
)

TYPES = {
    "is_active": "BOOLEAN",
    "organization_id": "BIGINT",
    "project_id": "BIGINT",
    "status": "INTEGER",
    "user_id": "BIGINT",
}
TOKENS = "user_id BIGINT, hash VARCHAR(32), date_added TIMESTAMP"
NEEDED = [(model, field) for model, fields in NEEDED_LATER.items() for field in sorted(fields)]


def make(engine: Engine, without: tuple[str, str] | None = None) -> None:
    """Make the tables with no other columns than those that are said to be needed."""
    key = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER"
    with engine.begin() as connection:
        for name, fields in NEEDED_LATER.items():
            model = load_catalogue()[name]
            columns = [model.columns[one] for one in sorted(fields) if (name, one) != without]
            made = "".join(f", {one} {TYPES.get(one, 'VARCHAR(64)')}" for one in columns)
            connection.execute(text(f"CREATE TABLE {model.table} (id {key} PRIMARY KEY{made})"))
        connection.execute(text(f"CREATE TABLE {LOST_PASSWORDS} (id {key} PRIMARY KEY, {TOKENS})"))
    create_own_tables(engine)


def take_the_steps(engine: Engine) -> None:
    """Go from an import of nothing to the claims."""
    bind(engine, "one", 1)
    grant_ownership(engine, "one", 1, "olga")
    reveal_organizations(engine, "one", 1)
    assert [one.slug for one in moved_organizations(engine, "one")] == ["acme"]
    assert [one.username for one in issue_claims(engine, "one", 1, datetime.now(UTC))] == ["olga"]


def fill(engine: Engine) -> None:
    """Put an organization and a user in, as an import leaves them."""
    bind(engine, "one", 1)
    with engine.begin() as connection:
        organization = "INSERT INTO sentry_organization (id, name, slug, status)"
        connection.execute(text(f"{organization} VALUES (7, 'A', 'acme', 3)"))
        connection.execute(
            text(
                "INSERT INTO auth_user (id, username, email, is_active, password) "
                "VALUES (8, 'olga', 'olga@example.org', true, '!x')"
            )
        )
    with fenced(engine, "one", 1) as connection:
        for model, pk in (("sentry.organization", 7), ("sentry.user", 8)):
            chunk = Chunk(RecordCounts(read=1, inserted=1), pk, pk, {pk: pk}, slugs={pk: "acme"})
            write_chunk(connection, "one", model, 0, chunk)


def test_no_other_column_is_needed(bare_destination: Engine) -> None:
    make(bare_destination)
    fill(bare_destination)
    assert check_later_steps(bare_destination) == []
    take_the_steps(bare_destination)
    with bare_destination.connect() as connection:
        assert connection.execute(text("SELECT status FROM sentry_organization")).all() == [(0,)]
        chunks = text("SELECT count(*) FROM relocation_import_chunk WHERE model = :granted")
        assert connection.execute(chunks, {"granted": GRANTED}).scalar() == 1


@pytest.mark.parametrize(("model", "field"), NEEDED, ids=str)
def test_without_any_of_them_a_step_would_fail(
    bare_destination: Engine, model: str, field: str
) -> None:
    make(bare_destination, without=(model, field))
    with suppress(DBAPIError):  # where it is a column of these that is missing
        fill(bare_destination)
    [finding] = check_later_steps(bare_destination)
    assert (finding.model, finding.field) == (model, field)
    said = []
    for step in (
        lambda: grant_ownership(bare_destination, "one", 1, "olga"),
        lambda: grant_ownership(bare_destination, "one", 1, "olga"),  # now a member already
        lambda: reveal_organizations(bare_destination, "one", 1),
        lambda: moved_organizations(bare_destination, "one"),
        lambda: issue_claims(bare_destination, "one", 1, datetime.now(UTC)),
    ):
        with suppress(PersonError):
            try:
                step()
            except ConfigurationError as err:
                said.append(err.reason)
    assert any(f"{model}.{field}" in reason for reason in said)

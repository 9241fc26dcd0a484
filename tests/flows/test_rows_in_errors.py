"""Wherever PostgreSQL refuses a row, nobody reads that row: not in ledger, logs, pages, mails."""

import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from embedded_service import Service
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect_blocks import save_block
from prefect_sqlalchemy import SqlAlchemyConnector
from sqlalchemy import URL, Engine, NullPool, create_engine

from flows.sweep import sweep
from relocation.example import example_export
from relocation.ledger.tables import utc_now
from relocation.ledger.transitions import schedule_cancel
from relocation.notices.kinds import NoticeKind
from relocation.prefect_api import blocks
from relocation.prefect_api.blocks import load_destination
from relocation.steps import Status, Step, Task
from relocation.transfer.database.schema import create_embedded
from relocation.transfer.load.accounts import add_users

# SQLAlchemy 2.1 cannot tell of a constraint that is not valid yet, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Can't validate argument")

SECRET = "pbkdf2_sha256$600000$nobody$may$read$this"
USERNAME = next(
    record.fields["username"]
    for record in example_export(organizations=1)
    if record.model == "sentry.user"
)
"""An imported user's, and an existing one's, so that the trial import gets that row too."""


def spoiled(table: str, when: str, change: str) -> str:
    """Return what lets the database refuse rows, after the secret was put into them."""
    return f"""
        CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {change}; RETURN NEW; END $$;
        CREATE TRIGGER spoil BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()
    """


MENDED = "DROP FUNCTION spoil CASCADE"
"""What lets the database take those rows again."""


@dataclass(frozen=True)
class Place:
    """A task that meets the error of a database, what causes that, and what ends it."""

    task: Task
    cause: str
    remedy: str


PLACES = (
    # Existing rows that break a rule made after them: the scratch has that rule, and refuses them.
    Place(
        Task.VALIDATE,
        "ALTER TABLE auth_user ADD CONSTRAINT late CHECK (password NOT LIKE '%nobody%') NOT VALID",
        "ALTER TABLE auth_user DROP CONSTRAINT late",
    ),
    Place(
        Task.IMPORT_ORGANIZATIONS,
        spoiled(
            "sentry_projectkey",
            "INSERT",
            f"NEW.secret_key := left('{SECRET}', 32); NEW.status := NULL",
        ),
        MENDED,
    ),
    Place(
        Task.GRANT_OWNERSHIP,
        spoiled(
            "sentry_organizationmember",
            "INSERT OR UPDATE",
            f"IF NEW.email IS NULL AND NEW.role = 'owner' AND NEW.user_id IN"
            " (SELECT id FROM auth_user WHERE username = 'olivia') THEN"
            f" NEW.email := '{SECRET}'; NEW.role := NULL; END IF",
        ),
        MENDED,
    ),
    Place(
        Task.REVEAL_ORGANIZATIONS,
        spoiled("sentry_organization", "UPDATE", f"NEW.name := '{SECRET}'; NEW.slug := NULL"),
        MENDED,
    ),
    Place(
        Task.COMPLETE,
        spoiled(
            "sentry_lostpasswordhash",
            "INSERT",
            f"NEW.hash := left('{SECRET}', 32); NEW.date_added := NULL",
        ),
        MENDED,
    ),
)
"""In the order of the tasks."""
NEEDLE = SECRET[10:30]


def run(engine: Engine, statements: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statements.replace("%", "%%"))


@pytest.fixture
def on_postgres(
    service: Service, postgres_server: URL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """The service with a destination on PostgreSQL, and in it a user whom the export has too."""
    name = f"destination_{uuid.uuid4().hex}"
    options = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    with create_engine(postgres_server, **options).connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = postgres_server.set(database=name).render_as_string(hide_password=False)
    block = SqlAlchemyConnector(connection_info=url)
    save_block(block, name.replace("_", "-"))
    monkeypatch.setenv("RELOCATION_DESTINATION_BLOCK", name.replace("_", "-"))
    opened: list[Engine] = []
    engine = blocks._engine

    def remembered(name: str) -> Engine:
        opened.append(engine(name))
        return opened[-1]

    # A flow leaves closing to the end of its process; this one goes on.
    monkeypatch.setattr(blocks, "_engine", remembered)
    named = service.settings.model_copy(update={"destination_block": name.replace("_", "-")})
    destination = load_destination(named)
    create_embedded(destination)
    add_users(destination, ("olivia", "carl", USERNAME))
    on_it = replace(service, destination=destination)
    with destination.begin() as connection:
        connection.execute(on_it.table("sentry.user").update().values(password=SECRET))
    yield on_it
    for one in opened:
        one.dispose()


@pytest.fixture
def everything_told(on_postgres: Service, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that anybody can read of a service: ledger, logs, artifacts, mails."""
    caplog.set_level("INFO")

    def read() -> str:
        # The test's own SMTP peer logs what it is told; it is no part of the service.
        logs = [caplog.handler.format(one) for one in caplog.records if one.name != "mail.log"]
        with get_client(sync_client=True) as client:
            mine = ArtifactFilterFlowRunId(any_=[UUID(on_postgres.only().id)])
            which = ArtifactFilter(flow_run_id=mine)
            found = client.read_artifacts(artifact_filter=which, limit=200)
        pages = [str(one.data) for one in found]
        mails = [str(mail.message) for mail in on_postgres.inbox.messages()]
        ledger = on_postgres.settings.home / "ledger.db"
        stored = [file.read_bytes().decode("latin-1") for file in ledger.parent.glob("ledger.db*")]
        assert logs
        assert pages
        assert mails
        return "\n".join([*logs, *pages, *mails, *stored])

    return read


def test_a_refused_row_is_nowhere_to_be_read(
    on_postgres: Service, everything_told: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One relocation fails at each place in turn, and is rerun when that is mended."""
    once = ", ".join(f'"{task}": {{"tries": 1}}' for task in Task)
    monkeypatch.setenv("RELOCATION_TASKS", f"{{{once}}}")
    archive = on_postgres.archive(example_export(organizations=1))
    for number, place in enumerate(PLACES):
        run(on_postgres.destination, place.cause)
        if number == 0:
            on_postgres.relocate(archive, "acme")
        else:
            on_postgres.rerun(on_postgres.only().id)
        stored = on_postgres.only()
        assert (stored.status, stored.failed_task) == (Status.FAILURE, place.task)
        assert "psycopg.errors" in (stored.internal_error or ""), place.task
        assert NEEDLE not in everything_told(), place.task
        run(on_postgres.destination, place.remedy)


def test_a_row_that_a_roll_back_cannot_remove_is_nowhere_to_be_read(
    on_postgres: Service, everything_told: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's mail tells why the end could not be undone: without what a trigger said."""
    monkeypatch.setenv("RELOCATION_OPERATOR_EMAIL", "operator@example.org")
    monkeypatch.setenv("RELOCATION_LEASE_SECONDS", "0.2")
    run(
        on_postgres.destination,
        "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'kept %: {SECRET}', OLD USING ERRCODE = 'check_violation'; END $$;"
        " CREATE TRIGGER quote BEFORE DELETE ON sentry_project FOR EACH ROW"
        " EXECUTE FUNCTION quote()",
    )

    def then_cancel(relocation_id: str, *_: object) -> None:
        schedule_cancel(on_postgres.ledger, relocation_id, Step.POSTPROCESSING, utc_now())

    monkeypatch.setattr(sys.modules["tasks.import_organizations"], "show_accounts", then_cancel)
    on_postgres.relocate(on_postgres.archive(example_export(organizations=1)), "acme")
    assert on_postgres.only().is_open
    sweep()
    assert NEEDLE not in everything_told()
    subjects = [subject for recipient, subject in on_postgres.mails() if "operator" in recipient]
    assert subjects
    assert NoticeKind.CANCELLED not in {subject.split(":")[0] for subject in subjects}

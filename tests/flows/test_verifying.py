"""What arrived is compared with the archive before anybody sees it."""

import csv
import json
from pathlib import Path

from embedded_service import Service
from sqlalchemy import text
from typer.testing import CliRunner

from relocation.cli.main import app
from relocation.example import example_export
from relocation.ledger.tries import tries_of
from relocation.steps import Status, Task
from relocation.transfer.load.rules import ACTIVE, PENDING_APPROVAL


def spoil(service: Service) -> None:
    """Let the destination change every option of a project as it arrives, and not the scratch."""
    with service.destination.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER spoil AFTER INSERT ON sentry_projectkey "
                "WHEN EXISTS (SELECT 1 FROM auth_user WHERE username = 'carl') BEGIN "
                "UPDATE sentry_projectkey SET label = 'spoilt' WHERE id = NEW.id; END"
            )
        )


def mend(service: Service, labels: dict[str, str]) -> None:
    with service.destination.begin() as connection:
        connection.execute(text("DROP TRIGGER spoil"))
        for key, label in labels.items():
            changed = text("UPDATE sentry_projectkey SET label = :label WHERE public_key = :key")
            connection.execute(changed, {"label": label, "key": key})


def test_a_difference_in_the_destination_stops_it_hidden_until_it_is_mended(
    service: Service, tmp_path: Path
) -> None:
    """B-8: it looks again, and imports nothing twice."""
    records = list(example_export(organizations=1, projects=3))
    labels = {
        r.fields["public_key"]: r.fields["label"] for r in records if r.model == "sentry.projectkey"
    }
    spoil(service)
    assert service.relocate(service.archive(records), "acme").is_failed()
    relocation = service.only()
    assert (relocation.status, relocation.failed_task) == (Status.FAILURE, Task.VERIFY_IMPORT)
    assert f"in {len(labels)} place" in (relocation.reason or "")
    assert [row.status for row in service.rows("sentry.organization")] == [PENDING_APPROVAL]
    assert "olivia" not in {
        owner.username
        for member in service.rows("sentry.organizationmember")
        for owner in service.rows("sentry.user")
        if owner.id == member.user_id
    }

    said = CliRunner().invoke(app, ["report", relocation.id, "--csv", str(tmp_path)])
    assert said.exit_code == 0, said.output
    with (tmp_path / "findings.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["task"] == Task.VERIFY_IMPORT]
    assert {row["field"] for row in found} == {"label"}
    assert len(found) == len(labels)

    mend(service, labels)
    keys = service.count("sentry.projectkey")
    assert service.rerun(relocation.id).is_completed()
    assert [row.status for row in service.rows("sentry.organization")] == [ACTIVE]
    assert service.count("sentry.projectkey") == keys
    tries = list(tries_of(service.ledger, relocation.id))
    assert [t.outcome for t in tries if t.task == Task.VERIFY_IMPORT] == ["REFUSED", "DONE"]
    assert len([t for t in tries if t.task == Task.IMPORT_ORGANIZATIONS]) == 1

    told = json.loads(CliRunner().invoke(app, ["report", relocation.id, "--json"]).stdout)
    assert not [one for one in told["findings"] if one["task"] == Task.VERIFY_IMPORT]
    assert sum(one["read"] for one in told["accounts"]) > 0


def test_a_report_has_every_record_that_was_left_out(relocated: Service, tmp_path: Path) -> None:
    """B-4: also when the working files are gone."""
    records = list(example_export(organizations=2))
    one = relocated.only().id
    assert CliRunner().invoke(app, ["report", one, "--csv", str(tmp_path)]).exit_code == 0
    with (tmp_path / "left-out.csv").open(newline="") as file:
        left_out = {(row["model"], int(row["pk"])) for row in csv.DictReader(file)}
    with (tmp_path / "accounts.csv").open(newline="") as file:
        read = sum(int(row["read"]) for row in csv.DictReader(file))
    assert len(left_out) + read == len(records)
    assert left_out <= {(record.model, record.pk) for record in records}


def test_there_is_no_report_of_a_relocation_that_does_not_exist(service: Service) -> None:
    said = CliRunner().invoke(app, ["report", "00000000-0000-0000-0000-000000000000"])
    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 1

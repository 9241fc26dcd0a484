"""`relocation export` and `import`, on the databases that the blocks name."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from embedded_service import Service
from mail_parts import text_of
from sqlalchemy import text
from typer.testing import CliRunner, Result

from relocation.archive.records import Record
from relocation.cli.main import app
from relocation.example import example_export, write_export
from relocation.transfer.load.rules import ACTIVE

EXAMPLE = example_export(organizations=2, members=3, projects=2)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def write(path: Path, records: list[Record]) -> Path:
    with path.open("wb") as file:
        write_export(records, file)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example, as a plain export."""
    return write(tmp_path / "export.json", EXAMPLE)


def test_what_was_imported_is_exported_again_the_same(
    service: Service, file: Path, tmp_path: Path
) -> None:
    imported = run("import", file, "-o", "acme", "--json")
    assert imported.exit_code == 0, imported.output
    accounts = json.loads(imported.stdout)["accounts"]
    assert accounts["sentry.organization"]["inserted"] == 1
    assert [row.status for row in service.rows("sentry.organization")] == [ACTIVE]

    archive, plain = tmp_path / "acme.tar", tmp_path / "acme.json"
    said = run("export", archive, "-o", "acme", "--from", "destination", "--json")
    assert said.exit_code == 0, said.output
    records = json.loads(said.stdout)["records"]
    for model in ("sentry.project", "sentry.projectkey", "sentry.organizationmember"):
        assert records[model] == accounts[model]["inserted"]
    assert run("decrypt", archive, plain).exit_code == 0
    again = json.loads(plain.read_text())
    assert {one["fields"]["slug"] for one in again if one["model"] == "sentry.organization"} == {
        "acme"
    }
    # A second import of it finds every name taken, and goes in all the same.
    assert run("import", archive, "--key", key_file(service, tmp_path)).exit_code == 0
    assert service.count("sentry.organization") == 2


def key_file(service: Service, folder: Path) -> Path:
    path = folder / "service.pem"
    path.write_text(service.private_key)
    return path


def test_an_import_that_is_begun_again_brings_nothing_twice(service: Service, file: Path) -> None:
    first = json.loads(run("import", file, "--json").stdout)
    before = service.count("sentry.projectkey")
    second = json.loads(run("import", file, "--id", first["id"], "--json").stdout)
    assert second == first
    assert service.count("sentry.projectkey") == before


def test_users_are_merged_by_name_where_that_was_asked_for(
    service: Service, tmp_path: Path
) -> None:
    one = next(record for record in EXAMPLE if record.model == "sentry.user")
    olivia = one._replace(fields={**one.fields, "username": "olivia"})
    file = write(tmp_path / "users.json", [olivia])
    before = service.rows("sentry.user")
    merged = run("import", file, "--scope", "user", "--merge-users", "--json")
    assert json.loads(merged.stdout)["accounts"]["sentry.user"]["merged"] == 1
    assert service.rows("sentry.user") == before
    new = json.loads(run("import", file, "--scope", "user", "--json").stdout)
    assert new["accounts"]["sentry.user"]["inserted"] == 1


def test_settings_are_overwritten_where_that_was_asked_for(
    service: Service, tmp_path: Path
) -> None:
    def import_value(value: str, *more: str) -> dict[str, int]:
        fields = {"key": "some:key", "value": value, "last_updated": "2023-06-22T22:54:28.773Z"}
        file = write(tmp_path / f"{value}.json", [Record("sentry.option", 1, fields)])
        done = json.loads(run("import", file, "--scope", "config", *more, "--json").stdout)
        counts: dict[str, int] = done["accounts"]["sentry.option"]
        return counts

    assert import_value("one")["inserted"] == 1
    assert import_value("two")["merged"] == 1
    assert "one" in str(service.rows("sentry.option"))
    assert import_value("three", "--overwrite-configs")["overwritten"] == 1
    assert "three" in str(service.rows("sentry.option"))


def test_an_export_of_accounts_takes_no_organization(
    service: Service, file: Path, tmp_path: Path
) -> None:
    run("import", file)
    out = tmp_path / "users.json"
    command = ("export", out, "--scope", "user", "--username", "olivia", "--plain")
    assert run(*command, "--from", "destination").exit_code == 0
    records = json.loads(out.read_text())
    assert [one["fields"]["username"] for one in records if one["model"] == "sentry.user"] == [
        "olivia"
    ]
    assert "sentry.organization" not in {one["model"] for one in records}


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        # A slug that is not there.
        (("-o", "nobody", "--from", "destination"), "nobody", 1),
        # No block of a live source was set up.
        (("-o", "acme"), "relocation-source", 1),
        (("--scope", "config", "-o", "acme"), "--organization", 2),
        ((), "--organization", 2),
    ],
)
def test_an_export_that_cannot_be_leaves_no_file(
    service: Service, tmp_path: Path, arguments: tuple[str, ...], said: str, code: int
) -> None:
    done = run("export", tmp_path / "out.tar", *arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "out.tar" in path.name] == []


def test_the_owner_gets_the_kit_with_the_mail_and_the_operator_by_command(
    relocated: Service, tmp_path: Path
) -> None:
    service = relocated
    mail = next(
        m.message
        for m in service.inbox.messages()
        if "succeeded" in m.message["Subject"] and "olivia@" in m.message["To"]
    )
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "handover.zip"
    assert "handover.zip" in text_of(mail)
    with zipfile.ZipFile(io.BytesIO(attached.get_content())) as kit:
        files = {name: kit.read(name) for name in kit.namelist()}
    done = run("handover", service.only().id, "--to", tmp_path / "kit")
    assert done.exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "kit").iterdir()} == files
    dsns = {key["dsn"] for key in json.loads(files["handover.json"])["keys"]}
    keys = {row.public_key: row.project_id for row in service.rows("sentry.projectkey")}
    assert dsns == {f"http://{key}@localhost:9000/{project}" for key, project in keys.items()}


def test_there_is_nothing_to_hand_over_of_a_relocation_that_failed(
    service: Service, tmp_path: Path
) -> None:
    assert service.relocate(service.archive(EXAMPLE), "nobody").is_failed()
    done = run("handover", service.only().id, "--to", tmp_path / "kit")
    assert done.exit_code == 1
    assert "FAILURE" in done.stderr
    assert not (tmp_path / "kit").exists()


def test_a_plan_that_was_edited_is_obeyed(service: Service, file: Path, tmp_path: Path) -> None:
    """Proposed by the destination's word alone, decided by a person, kept over a rerun."""
    plan = tmp_path / "plan.csv"
    assert run("plan", file, "-o", "acme", "--to", plan).exit_code == 0
    with plan.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["becomes"] for row in rows} == {""}
    person = next(row["name"] for row in rows if row["kind"] == "user")
    (carl,) = [row.id for row in service.rows("sentry.user") if row.username == "carl"]
    before = [row for row in service.rows("sentry.user") if row.id == carl]

    asked = {"users": {person: carl}, "slugs": {"acme": "globex"}}
    assert service.relocate(service.archive(EXAMPLE), "acme", plan=asked).is_completed()
    assert service.only().request.plan.model_dump() == asked
    assert [row.slug for row in service.rows("sentry.organization")] == ["globex"]
    assert [row for row in service.rows("sentry.user") if row.id == carl] == before
    assert person not in {row.username for row in service.rows("sentry.user")}
    assert carl in {row.user_id for row in service.rows("sentry.organizationmember")}
    (mail,) = [m.message for m in service.inbox.messages() if "succeeded" in m.message["Subject"]]
    assert "as requested" in text_of(mail)


def test_a_plan_for_a_privileged_account_fails_before_anything_is_written(service: Service) -> None:
    with service.destination.begin() as connection:
        made = text("UPDATE auth_user SET is_superuser = true WHERE username = 'carl'")
        connection.execute(made)
    (carl,) = [row.id for row in service.rows("sentry.user") if row.username == "carl"]
    person = next(r.fields["username"] for r in EXAMPLE if r.model == "sentry.user")
    plan = {"users": {person: carl}}
    assert service.relocate(service.archive(EXAMPLE), "acme", plan=plan).is_failed()
    assert "has privileges" in (service.only().reason or "")
    assert service.count("sentry.organization") == 0

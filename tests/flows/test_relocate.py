"""The whole road, from an archive to organizations in the destination and mails in the inbox."""

import json
from pathlib import Path
from typing import Any

import pytest
from embedded_service import GoOn, Keep, Kept, Service

from relocation.catalogue import Scope, load_catalogue
from relocation.example import example_export
from relocation.ledger.outbox import notices_of
from relocation.steps import Status

FRESH_INSTALL = Path(__file__).parents[2].parent / "shared" / "exports" / "fresh-install.json"


@pytest.fixture(scope="module")
def imported(keep: Keep) -> Kept:
    """A service into which the reference's fresh installation was relocated; its storage has it."""
    if not FRESH_INSTALL.exists():
        pytest.skip("the real export is not at hand")

    def relocate(service: Service, _: pytest.MonkeyPatch) -> None:
        archive = service.store(service.seal(FRESH_INSTALL.read_bytes()))
        assert service.relocate(archive, "testing").is_completed()

    return keep(relocate)


@pytest.fixture
def fresh_install(imported: Kept, go_on: GoOn) -> Service:
    """The reference's fresh installation, relocated."""
    return go_on(imported)


def rows_of(service: Service) -> dict[str, set[tuple[Any, ...]]]:
    """All rows of the destination, for asking what a relocation changed."""
    return {
        name: {tuple(map(str, row)) for row in service.rows(name)}
        for name in load_catalogue().newest()
    }


def test_a_real_export_is_relocated(fresh_install: Service) -> None:
    """A-115, A-117, A-118, A-121."""
    service = fresh_install
    assert service.only().status == Status.SUCCESS

    (organization,) = service.rows("sentry.organization")
    assert (organization.slug, organization.status) == ("testing", 0)
    imported = [row for row in service.rows("sentry.user") if "@example.com" in row.username]
    assert len(imported) == 2
    original = json.loads(FRESH_INSTALL.read_text())
    passwords = {r["fields"]["password"] for r in original if r["model"] == "sentry.user"}
    for user in imported:
        assert not user.is_staff
        assert not user.is_superuser
        assert user.is_unclaimed
        assert user.password not in passwords
    assert service.count("sentry.user") == 2 + 2  # olivia and carl were there
    assert service.count("sentry.email") == 2
    assert service.count("sentry.useremail") == 2
    members = service.rows("sentry.organizationmember")
    assert len(members) == 3
    (owner,) = [row for row in service.rows("sentry.user") if row.username == "olivia"]
    assert [member.role for member in members if member.user_id == owner.id] == ["owner"]
    expected = {
        "team": 1,
        "project": 1,
        "projectkey": 1,
        "projectoption": 4,
        "rule": 1,
        "projectteam": 1,
        "organizationmemberteam": 2,
    }
    assert {name: service.count(f"sentry.{name}") for name in expected} == expected


def test_nothing_outside_the_organization_scope_is_written(fresh_install: Service) -> None:
    """A-21."""
    admitted = {model.name for model in load_catalogue().admitted(Scope.ORGANIZATION)}
    others = [name for name in load_catalogue() if name not in admitted]
    assert "sentry.authenticator" in others
    assert {name: fresh_install.count(name) for name in others} == dict.fromkeys(others, 0)


def test_a_real_export_is_told_to_its_owner_and_its_users(fresh_install: Service) -> None:
    """A-107, A-119, A-121."""
    notices = notices_of(fresh_install.ledger, fresh_install.only().id)
    assert sorted((notice.kind, notice.recipient, notice.state) for notice in notices) == [
        ("CLAIM", "admin@example.com", "sent"),
        ("CLAIM", "member@example.com", "sent"),
        ("STARTED", "olivia@example.org", "sent"),
        ("SUCCEEDED", "olivia@example.org", "sent"),
    ]
    assert len(fresh_install.mails()) == 4


def test_fields_that_no_longer_exist_are_reported_and_not_fatal(fresh_install: Service) -> None:
    from relocation.ledger.results import ExportScanned
    from relocation.ledger.tries import needed_result

    result = needed_result(fresh_install.ledger, fresh_install.only().id, ExportScanned)
    left_out = {(one.model, one.field): one.kind for one in result.findings}
    assert left_out[("sentry.team", "org_role")] == "RemovedField"
    # What it names is told by the team's actor itself: nothing of it is lost.
    assert ("sentry.team", "actor") not in left_out


def test_a_second_relocation_of_the_same_file_changes_nothing_of_the_first(
    fresh_install: Service,
) -> None:
    """A-136, A-26, A-27, A-42."""
    service = fresh_install
    before = rows_of(service)
    assert service.relocate(service.only().request.archive, "testing").is_completed()
    after = rows_of(service)
    assert {name for name in before if before[name] - after[name]} == set()
    slugs = sorted(row.slug for row in service.rows("sentry.organization"))
    assert slugs[0] == "testing"
    assert slugs[1].startswith("testing-")
    admins = [r.username for r in service.rows("sentry.user") if r.username.startswith("admin@")]
    assert len(set(admins)) == 2


def test_the_example_is_relocated_with_every_project_key(service: Service) -> None:
    """W-15: every project key of the file arrives."""
    records = list(example_export(organizations=2))
    state = service.relocate(service.archive(records), "acme", "birch-labs")
    assert state.is_completed()
    for model in ("sentry.organization", "sentry.project", "sentry.projectkey", "sentry.team"):
        assert service.count(model) == sum(record.model == model for record in records)


def test_only_the_organizations_asked_for_are_relocated(relocated: Service) -> None:
    """A-39."""
    assert [row.slug for row in relocated.rows("sentry.organization")] == ["acme"]


def test_owner_and_creator_are_both_told(relocated: Service) -> None:
    """A-120."""
    notices = notices_of(relocated.ledger, relocated.only().id)
    for kind in ("STARTED", "SUCCEEDED"):
        assert {n.recipient for n in notices if n.kind == kind} == {
            "olivia@example.org",
            "carl@example.org",
        }


def test_a_plain_export_is_refused_unless_the_settings_allow_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import BytesIO

    from relocation.example import write_export

    plain = BytesIO()
    write_export(example_export(organizations=1), plain)
    key = service.store(plain.getvalue(), "archives/plain.json")
    assert service.relocate(key, "acme").is_failed()
    assert service.count("sentry.organization") == 0
    monkeypatch.setenv("RELOCATION_ACCEPT_PLAIN_EXPORTS", "true")
    assert service.relocate(key, "acme").is_completed()


def test_working_files_are_gone_after_success(relocated: Service) -> None:
    storage = relocated.settings.home / "storage"
    assert [path for path in (storage / "relocations").rglob("*") if path.is_file()] == []
    assert list((relocated.settings.home / "scratch").rglob("*")) == []

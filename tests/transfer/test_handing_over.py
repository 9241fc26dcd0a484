"""What changed for whoever uses what was relocated."""

import uuid
from typing import Any

from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.notices.labels import label
from relocation.transfer.handover_facts import handover_facts
from relocation.transfer.load.importing import bind, import_records, import_report
from relocation.transfer.load.ownership import moved_organizations
from relocation.transfer.source import RecordList

CATALOGUE = load_catalogue()
ADMITTED = {model.name for model in CATALOGUE.admitted(Scope.ORGANIZATION)}
EXAMPLE = [r for r in example_export(organizations=2, members=3, projects=2) if r.model in ADMITTED]


def relocate(engine: Engine, records: list[Record] = EXAMPLE) -> dict[str, Any]:
    relocation_id = str(uuid.uuid4())
    bind(engine, relocation_id, 1)
    source = RecordList(records, CATALOGUE)
    import_records(engine, source, relocation_id=relocation_id, fence=1)
    return handover_facts(
        engine,
        source,
        relocation_id,
        moved=moved_organizations(engine, relocation_id),
        left_behind={"sentry.integration": {FindingKind.OUT_OF_SCOPE: 2}},
        findings=import_report(engine, relocation_id).findings,
        ingest_url="https://new.example.org",
        label=label,
    )


def column(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)).scalars())


def test_every_key_has_its_new_dsn(destination: Engine) -> None:
    facts = relocate(destination)
    given = {r.fields["public_key"] for r in EXAMPLE if r.model == "sentry.projectkey"}
    assert {one["public_key"] for one in facts["keys"]} == given
    ids = set(column(destination, "SELECT id FROM sentry_project"))
    for one in facts["keys"]:
        assert one["dsn"] == f"https://{one['public_key']}@new.example.org/{one['project_id']}"
        assert one["project_id"] in ids
        assert one["rewritable"]
    assert facts["usernames"] == []
    assert [(one["old_slug"], one["slug"]) for one in facts["organizations"]] == [
        ("acme", "acme"),
        ("birch-labs", "birch-labs"),
    ]


def test_what_collided_is_told_old_and_new(destination: Engine) -> None:
    relocate(destination)
    facts = relocate(destination)
    names = [r.fields["username"] for r in EXAMPLE if r.model == "sentry.user"]
    assert [one["old_username"] for one in facts["usernames"]] == names
    assert all(one["username"] not in names for one in facts["usernames"])
    assert not any(one["rewritable"] for one in facts["keys"])
    assert all(one["public_key"] != one["old_public_key"] for one in facts["keys"])
    moved = {one["old_project_id"]: one["project_id"] for one in facts["keys"]}
    assert len(set(moved.values())) == len(moved)
    assert not set(moved.values()) & set(moved)


def test_what_did_not_move_is_told_with_its_reason(destination: Engine) -> None:
    key = next(record for record in EXAMPLE if record.model == "sentry.projectkey")
    orphan = key._replace(pk=9000, fields={**key.fields, "project": 4711})
    facts = relocate(destination, [*EXAMPLE, orphan])
    told = {(one["what"], one["count"], one["why"]) for one in facts["not_moved"]}
    assert (label("sentry.projectkey"), 1, "What it belongs to was not moved.") in told
    assert ("integrations", 2) in {(what, count) for what, count, _ in told}
    assert 9 not in {count for _, count, _ in told}

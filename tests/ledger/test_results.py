"""What a task is done with is read back by the names of its fields, or refused aloud."""

from typing import Any

import pytest
from task_results import RESULTS, result_of

from relocation.errors import StaleWorkError
from relocation.findings import Finding, FindingKind
from relocation.ledger.results import (
    ArchiveReceived,
    ExportScanned,
    ImportTried,
    OrganizationsImported,
    OrganizationsRevealed,
    SourceExported,
    TaskResult,
    from_json,
    to_json,
)
from relocation.model import ExportedOrganization, RecordCounts
from relocation.steps import Task

FINDING = Finding(FindingKind.RENAMED, "sentry.user", "The name is taken.", "username", 3)
SCANNED = ExportScanned(
    organizations=(ExportedOrganization(1, "acme", "Acme"),),
    usernames=("ann", "ben"),
    read={"sentry.user": 3},
    selected={"sentry.user": 2},
    skipped={"sentry.user": {FindingKind.NOT_REQUESTED: 1}},
    findings=(FINDING,),
    left_behind={"sentry.rule": {FindingKind.REPEATED_RECORD: 1}},
    lost_fields=(("sentry.team", "mood", 2),),
    old_host="old.example.org",
)


@pytest.mark.parametrize("task", Task)
def test_every_task_has_one_type_of_result_which_comes_back_from_json(task: Task) -> None:
    result = result_of(task)
    assert type(result) is RESULTS[task]
    assert from_json(RESULTS[task], to_json(result)) == result


@pytest.mark.parametrize(
    "result",
    [SCANNED, OrganizationsImported({"sentry.user": RecordCounts(2, merged=2)}, (FINDING,))],
)
def test_what_is_inside_a_result_comes_back_too(result: TaskResult) -> None:
    assert from_json(type(result), to_json(result)) == result


# As versions of November 2026 stored them, field by field.
OLD = [
    (Task.RECEIVE_ARCHIVE, {"bytes": 5}, ArchiveReceived(5)),
    (Task.EXPORT_SOURCE, {"records": 1, "bytes": 5}, SourceExported(1, 5)),
    (Task.VALIDATE, {"findings": 0}, ImportTried()),
    (Task.REVEAL_ORGANIZATIONS, {}, OrganizationsRevealed()),
    (
        Task.SCAN_EXPORT,
        {
            "organizations": [{"pk": 1, "slug": "acme", "name": "Acme"}],
            "usernames": ["ann"],
            "read": {"sentry.user": 1},
            "selected": {"sentry.user": 1},
            "skipped": {},
            "findings": [
                {"kind": "UnknownField", "model": "m", "reason": "r", "field": "f", "pk": None}
            ],
        },
        ExportScanned(
            (ExportedOrganization(1, "acme", "Acme"),),
            ("ann",),
            {"sentry.user": 1},
            {"sentry.user": 1},
            {},
            (Finding(FindingKind.UNKNOWN_FIELD, "m", "r", "f"),),
        ),
    ),
]


@pytest.mark.parametrize(("task", "stored", "result"), OLD)
def test_what_an_older_version_recorded_can_be_read(
    task: Task, stored: dict[str, Any], result: TaskResult
) -> None:
    assert from_json(RESULTS[task], stored) == result


def test_what_only_a_newer_version_records_is_left() -> None:
    assert from_json(ExportScanned, {**to_json(SCANNED), "more": 1}) == SCANNED


@pytest.mark.parametrize("field", ["usernames", "read", "selected", "skipped", "findings"])
def test_a_field_that_is_missing_or_renamed_is_never_taken_for_empty(field: str) -> None:
    stored = to_json(SCANNED)
    stored[f"{field}_"] = stored.pop(field)
    with pytest.raises(StaleWorkError, match=field):
        from_json(ExportScanned, stored)


def test_a_field_of_another_type_is_refused_without_quoting_it() -> None:
    with pytest.raises(StaleWorkError) as refused:
        from_json(ExportScanned, {**to_json(SCANNED), "usernames": [17, "ann@example.org"]})
    assert "usernames" in refused.value.internal
    assert "ann@" not in refused.value.internal

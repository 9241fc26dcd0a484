"""Sample facts of every notice, to look at and to test with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relocation.errors import (
    NOTHING_TO_DO,
    ArchiveError,
    ConfigurationError,
    DailyLimitError,
    DifferencesError,
    EncryptionError,
    EndedError,
    ExportError,
    LimitError,
    MissingArchiveError,
    MissingOrganizationError,
    MissingWorkError,
    OwnerBusyError,
    PersonError,
    RelocationError,
    RequestError,
    StaleWorkError,
    StoppedError,
    TransientError,
    TriesUsedUpError,
)
from relocation.notices.kinds import NoticeKind

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
_WHEN = "2026-03-19T14:05:00+00:00"
_LONG = "the-organization-with-the-longest-name-anybody-ever-thought-of-" * 4
_MANY = [f"organization-{number}" for number in range(1, 200)]
_HEBREW = "\u05d7\u05d1\u05e8\u05ea \u05d3\u05d5\u05d2\u05de\u05d4"
_ARABIC = "\u0634\u0631\u0643\u0629 \u0645\u062b\u0627\u0644"
_EVIL = '<b>Acme</b> https://evil.example.com/login "\u202egpj.exe'

REASONS: tuple[RelocationError, ...] = (
    ArchiveError("The archive is damaged."),
    ConfigurationError("The relocation service is not fully set up."),
    DailyLimitError("The daily limit for relocations of this size has been reached."),
    DifferencesError("The trial import found 12 differences between the export and the result."),
    EncryptionError("The archive was encrypted with a different key."),
    EndedError("This relocation was cancelled."),
    ExportError('Element 12 of the export (sentry.team) has no "pk".'),
    LimitError("25 organizations were requested, but one relocation can move at most 20."),
    MissingArchiveError('There is no archive "archives/acme.tar" in the storage.'),
    MissingOrganizationError("These organizations are not in the export: acme, globex."),
    MissingWorkError("A working file of this relocation is missing."),
    OwnerBusyError("Another relocation for the same owner hasn't finished yet."),
    PersonError('The owner "olivia" is not an active user of the destination.'),
    RequestError('Not a valid organization slug: "ac me".'),
    StoppedError("An operator stopped the relocation."),
    StaleWorkError("A working file of this relocation is damaged."),
    TransientError("No free name could be found for an imported record."),
    TriesUsedUpError("We couldn't complete the import because of a problem on our side."),
)
"""One reason of each class that a FAILED notice can tell."""


@dataclass(frozen=True)
class Sample:
    """A notice as it could be: its facts, without the relocation's id."""

    name: str
    """Its kind in lower case, and what is special about it."""
    kind: NoticeKind
    context: Mapping[str, Any] = field(repr=False)


def samples() -> list[Sample]:
    """Return samples of every kind, kind by kind."""
    return [
        *(_varied(NoticeKind.STARTED, _STARTED, _STARTED_VARIANTS)),
        *(_varied(NoticeKind.FAILED, _FAILED, _failed_variants())),
        *(_varied(NoticeKind.SUCCEEDED, _SUCCEEDED, _SUCCEEDED_VARIANTS)),
        *(_varied(NoticeKind.CANCELLED, _CANCELLED, _CANCELLED_VARIANTS)),
        *(_varied(NoticeKind.CLAIM, _CLAIM, _CLAIM_VARIANTS)),
        *(Sample(f"operator-{what}", NoticeKind.OPERATOR, facts) for what, facts in _MATTERS),
    ]


Variants = Mapping[str, Mapping[str, Any]]


def _varied(kind: NoticeKind, facts: Mapping[str, Any], variants: Variants) -> list[Sample]:
    name = kind.lower()
    return [
        Sample(name, kind, facts),
        *(Sample(f"{name}-{what}", kind, {**facts, **own}) for what, own in variants.items()),
    ]


_WRONG_KEY = EncryptionError("The archive was encrypted with a different key.")
_STARTED: Mapping[str, Any] = {
    "organizations": ["acme", "globex"],
    "owner": "olivia",
    "creator": "olivia",
    "expected": "a few minutes",
    "reviewed": False,
    "happened_at": _WHEN,
    "stands_in_for": [],
}
_STARTED_VARIANTS: Variants = {
    "reviewed": {"expected": "less than an hour", "reviewed": True},
    "by-another": {"creator": "marcus"},
    "in-place-of-the-owner": {"stands_in_for": ['the owner "olivia"']},
    "many": {"organizations": _MANY},
    "long": {"organizations": [_LONG], "owner": _LONG, "creator": _LONG + "2"},
    "right-to-left": {"owner": _HEBREW, "creator": _ARABIC},
    "evil": {"owner": _EVIL, "creator": _EVIL + "2"},
}

_FAILED: Mapping[str, Any] = {
    "organizations": ["acme", "globex"],
    "destination_state": "unchanged",
    "reason": _WRONG_KEY.reason,
    "next_step": _WRONG_KEY.next_step,
    "ours": False,
    "findings": [],
    "more_findings": 0,
    "round": 1,
    "happened_at": _WHEN,
    "stands_in_for": [],
}
_FINDINGS = [
    {
        "what": "issue alert rules",
        "record": number,
        "field": None if number % 2 else "label",
        "reason": "The record did not arrive, and no reason is known.",
    }
    for number in range(101, 111)
]


def _failed_variants() -> Variants:
    by_class: dict[str, dict[str, Any]] = {
        _dashed(type(error).__name__): {
            "reason": error.reason,
            "next_step": error.next_step,
            "ours": error.next_step == NOTHING_TO_DO,
            **(
                {"findings": _FINDINGS, "more_findings": 2}
                if isinstance(error, DifferencesError)
                else {}
            ),
        }
        for error in REASONS
    }
    by_class["differences"] |= {"findings": _FINDINGS, "more_findings": 2}
    return {
        **by_class,
        "part-imported": {**by_class["tries-used-up"], "destination_state": "hidden", "round": 2},
        "visible": {**by_class["tries-used-up"], "destination_state": "visible"},
        "removed": {**by_class["tries-used-up"], "destination_state": "removed"},
        "no-organizations": {"organizations": []},
        "in-place-of-the-owner": {"stands_in_for": ['the owner "olivia"']},
        "many": {"organizations": _MANY},
        "long": {"organizations": [_LONG], "reason": f'There is no archive "{_LONG}".'},
        "evil": {"organizations": [_EVIL], "reason": f"Not a valid slug: {_EVIL}"},
    }


def _dashed(class_name: str) -> str:
    words = "".join(f"-{char.lower()}" if char.isupper() else char for char in class_name)
    return words.strip("-").removesuffix("-error")


def _moved(name: str, slug: str, old_slug: str = "", renamed: str = "") -> dict[str, str]:
    return {"name": name, "slug": slug, "old_slug": old_slug or slug, "renamed": renamed}


_SUCCEEDED: Mapping[str, Any] = {
    "organizations": [_moved("Acme", "acme")],
    "counts": {"members": 24, "projects": 7, "keys": 9},
    "not_moved": [],
    "handover": "attached",
    "claims": 23,
    "claims_without_address": 0,
    "renamed_users": 0,
    "happened_at": _WHEN,
    "stands_in_for": [],
}
_SUCCEEDED_VARIANTS: Variants = {
    "renamed": {
        "organizations": [
            _moved("Acme", "acme"),
            _moved("Globex", "globex-x7", "globex", "taken"),
            _moved("Initech", "initech-1999", "Initech_1999", "invalid"),
        ],
        "counts": {"members": 1204, "projects": 1, "keys": 31},
        "not_moved": [
            {"what": "integrations of organizations", "count": 14},
            {"what": "source code repositories", "count": 3},
            {"what": "records of an unknown kind", "count": 1},
        ],
        "claims": 1199,
        "claims_without_address": 5,
        "renamed_users": 3,
    },
    "many": {
        "organizations": [_moved(slug.title(), slug) for slug in _MANY],
        "handover": "on request",
        "not_moved": [{"what": f"things of kind {n}", "count": n} for n in range(1, 40)],
    },
    "long": {"organizations": [_moved(_LONG.title(), f"{_LONG}-2", _LONG, "taken")] * 20},
    "right-to-left": {"organizations": [_moved(_HEBREW, "acme"), _moved(_ARABIC, "globex")]},
    "evil": {"organizations": [_moved(_EVIL, "acme", _EVIL, "invalid")]},
}

_CANCELLED: Mapping[str, Any] = {
    "organizations": ["acme", "globex"],
    "destination_state": "unchanged",
    "happened_at": _WHEN,
    "stands_in_for": [],
}
_CANCELLED_VARIANTS: Variants = {
    "part-imported": {"destination_state": "hidden"},
    "removed": {"destination_state": "removed"},
    "many": {"organizations": _MANY},
}

_CLAIM: Mapping[str, Any] = {
    "username": "jane",
    "organizations": ["Acme", "Globex"],
    "owner": "olivia",
    "claim_url": "https://cloud.example.org/account/recover/confirm/7/a1b2c3d4e5f6g7h8/",
    "valid_until": "2026-03-26T14:05:00+00:00",
    "old_host": "sentry.acme.example",
    "renewed": False,
}
_CLAIM_VARIANTS: Variants = {
    "renewed": {"renewed": True, "old_host": ""},
    "long": {"username": _LONG, "organizations": [_LONG] * 12, "owner": _LONG},
    "right-to-left": {"owner": _HEBREW, "organizations": [_ARABIC]},
    "evil": {"username": _EVIL, "organizations": [_EVIL], "owner": _EVIL},
}

_MATTERS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (
        "stuck",
        {
            "matter": "stuck",
            "organizations": ["acme"],
            "status": "IN_PROGRESS",
            "step": "IMPORTING",
            "since": _WHEN,
        },
    ),
    (
        "undeliverable",
        {
            "matter": "undeliverable",
            "organizations": ["acme"],
            "undelivered": "SUCCEEDED",
            "recipient_hint": "o***@example.net",
            "reply": "550 5.1.1 <o***@example.net>: no such user here",
            "waits": False,
        },
    ),
    (
        "unbuildable",
        {
            "matter": "undeliverable",
            "organizations": ["acme"],
            "undelivered": "STARTED",
            "recipient_hint": "o***@example.net",
            "reply": "STARTED: TemplateSyntaxError: unexpected '}'",
            "waits": True,
        },
    ),
    (
        "failed",
        {
            "matter": "failed",
            "organizations": ["acme", "globex"],
            "task": "import_organizations",
            "tries": 5,
            "reason": "We couldn't complete the import because of a problem on our side.",
            "fault": "OSError: No space left on device; at relocation/database.py:12 in prepare",
            "destination_state": "hidden",
            "happened_at": _WHEN,
        },
    ),
    (
        "digest",
        {
            "matter": "digest",
            "organizations": [],
            "task": "import_organizations",
            "reason": "We couldn't complete the import because of a problem on our side.",
            "fault": "OSError: No space left on device",
            "since": _WHEN,
            "count": 52,
            "failures": [
                {
                    "relocation_id": RELOCATION,
                    "organizations": [f"organization-{number}"],
                    "happened_at": _WHEN,
                }
                for number in range(50)
            ],
            "more_failures": 2,
        },
    ),
    (
        "unsettled",
        {"matter": "unsettled", "organizations": [], "why": "OperationalError: disk is full"},
    ),
)

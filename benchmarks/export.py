"""Make up exports of any size, record by record: `python -m benchmarks.export 100000 export.json`.

100,000 records are about 20 MB: 1% are users, 20% projects, 20% project keys, 30% project options,
and the rest are of 28 other models. Unlike the example's, a record costs no memory.
"""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

from relocation.archive.record import Record
from relocation.catalogue import FieldType, load_catalogue
from relocation.example import write_export

Fields = dict[str, Any]
Make = Callable[["_Shape", int], Fields]

PROJECT = "sentry.project"
_DATE = "2024-03-04T09:00:00.250Z"
_BLANKS: dict[FieldType, Any] = {
    FieldType.BOOLEAN: False,
    FieldType.FLAGS: "0",
    FieldType.ARRAY: "[]",
    FieldType.JSON: {},
}
_OPTIONS = ("sentry:relay-rev", "sentry:option-epoch", "sentry:origins")
_OPTION_VALUES = ('"6b2c0f7e1d4a4c0c8f6e7d5b3a291817"', 12, '["https://*.example.com"]')
_RULE = orjson.dumps(
    {
        "match": "all",
        "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
        "actions": [{"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"}],
    }
).decode()


def organization_slugs(count: int) -> list[str]:
    """Return the slugs of the organizations in an export of `count` records."""
    return [f"tenant-{number}" for number in range(_Shape(count).sizes["sentry.organization"])]


def make_records(count: int) -> Iterator[Record]:
    """Yield about `count` records (at least 2,000), by model in dependency order, always the same.

    Every record can be imported, and belongs to one of the organizations of `organization_slugs`.
    """
    shape = _Shape(count)
    for name, model in load_catalogue().items():
        if name not in _MODELS:
            continue
        blank: Fields = {
            field.name: None if field.name in model.foreign_keys else _BLANKS.get(field.type)
            for field in model.fields.values()
        }
        dates = [field for field in blank if field.startswith("date_")]
        make = _MODELS[name][1]
        for number in range(shape.sizes[name]):
            made = make(shape, number)
            fields = blank | dict.fromkeys(dates, shape.now()) | made
            if len(fields) != len(blank):
                raise ValueError(f"{name} has no field {sorted(made.keys() - blank.keys())}")
            yield Record(name, shape.pk(number), fields)


class _Shape:
    """How many records of each model there are, and which refers to which."""

    def __init__(self, count: int) -> None:
        self.random = Random(count)  # noqa: S311 - no secret is made of it
        self._moment = datetime(2024, 3, 4, tzinfo=UTC)
        self.sizes = {
            name: max(1, count * share // 100_000) for name, (share, _) in _MODELS.items()
        }

    def pk(self, number: int) -> int:
        return 11 + 3 * number

    def one_of(self, model: str, number: int) -> int:
        """Return a primary key of a model, each in turn."""
        return self.pk(number % self.sizes[model])

    def now(self) -> str:
        """Return a time a little later than the last."""
        self._moment += timedelta(milliseconds=250)
        return self._moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def hex(self, length: int = 32) -> str:
        return f"{self.random.getrandbits(4 * length):0{length}x}"

    def uuid(self) -> str:
        digits = self.hex()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _organization(_shape: _Shape, number: int) -> Fields:
    return {
        "slug": f"tenant-{number}",
        "name": f"Tenant {number}",
        "status": 0,
        "default_role": "member",
        "flags": "1",
    }


def _option_of_organization(shape: _Shape, number: int) -> Fields:
    organizations = shape.sizes["sentry.organization"]
    return {
        "organization": shape.one_of("sentry.organization", number),
        "key": f"sentry:setting_{number // organizations}",
        "value": 90,
    }


def _team(shape: _Shape, number: int) -> Fields:
    return {
        "organization": shape.one_of("sentry.organization", number),
        "slug": f"team-{number}",
        "name": f"Team {number}",
        "status": 0,
    }


def _user(shape: _Shape, number: int) -> Fields:
    return {
        "username": f"person-{number}@example.com",
        "name": f"Person {number}",
        "email": f"person-{number}@example.com",
        "password": f"pbkdf2_sha256$600000${shape.hex(12)}${shape.hex(43)}=",
        "is_active": True,
        "last_password_change": _DATE,
        "last_active": _DATE,
        "avatar_type": 0,
    }


def _email(_shape: _Shape, number: int) -> Fields:
    return {"email": f"person-{number}@example.com"}


def _user_email(shape: _Shape, number: int) -> Fields:
    return {
        "user": shape.one_of("sentry.user", number),
        "email": f"person-{number}@example.com",
        "is_verified": True,
        "validation_hash": shape.hex(),
    }


def _user_option(shape: _Shape, number: int) -> Fields:
    user = shape.one_of("sentry.user", number)
    return {"user": user, "key": "timezone", "value": '"Europe/Vienna"'}


def _member(shape: _Shape, number: int) -> Fields:
    return {
        "organization": shape.one_of("sentry.organization", number),
        "user_id": shape.one_of("sentry.user", number),
        "user_email": f"person-{number}@example.com",
        "role": "member",
        "flags": "0",
        "has_global_access": True,
        "invite_status": 0,
        "type": 50,
        "user_is_active": True,
    }


def _member_of_team(shape: _Shape, number: int) -> Fields:
    return {
        "organizationmember": shape.one_of("sentry.organizationmember", number),
        "team": shape.one_of("sentry.team", number),
        "is_active": True,
    }


def _environment(shape: _Shape, number: int) -> Fields:
    organization = shape.one_of("sentry.organization", number)
    return {"organization_id": organization, "name": f"stage-{number}"}


def _project(shape: _Shape, number: int) -> Fields:
    return {
        "organization": shape.one_of("sentry.organization", number),
        "slug": f"service-{number}",
        "name": f"Service {number}",
        "platform": "python-django",
        "status": 0,
        "flags": "10",
    }


def _project_key(shape: _Shape, number: int) -> Fields:
    return {
        "project": shape.one_of(PROJECT, number),
        "label": "Default",
        "public_key": shape.hex(),
        "secret_key": shape.hex(),
        "roles": "1",
        "status": 0,
        "data": {"dynamicSdkLoaderOptions": {"hasPerformance": True, "hasReplay": True}},
    }


def _project_option(shape: _Shape, number: int) -> Fields:
    which = number // shape.sizes[PROJECT]
    return {
        "project": shape.one_of(PROJECT, number),
        "key": _OPTIONS[which],
        "value": _OPTION_VALUES[which],
    }


def _of_project(**values: Any) -> Make:
    """Return what makes a record below a project; callable values are made anew for each."""

    def make(shape: _Shape, number: int) -> Fields:
        made = {name: _value(value, shape, number) for name, value in values.items()}
        return {"project": shape.one_of(PROJECT, number), **made}

    return make


def _below(field: str, model: str, **values: Any) -> Make:
    def make(shape: _Shape, number: int) -> Fields:
        made = {name: _value(value, shape, number) for name, value in values.items()}
        return {field: shape.one_of(model, number), **made}

    return make


def _value(value: Any, shape: _Shape, number: int) -> Any:
    return value(shape, number) if callable(value) else value


def _to(model: str) -> Callable[[_Shape, int], int]:
    return lambda shape, number: shape.one_of(model, number)


def _numbered(name: str) -> Callable[[_Shape, int], str]:
    return lambda _shape, number: f"{name}-{number}"


_MODELS: dict[str, tuple[int, Make]] = {
    "sentry.organization": (20, _organization),
    "sentry.organizationoption": (180, _option_of_organization),
    "sentry.team": (400, _team),
    "sentry.user": (1000, _user),
    "sentry.email": (1000, _email),
    "sentry.useremail": (1000, _user_email),
    "sentry.useroption": (1000, _user_option),
    "sentry.organizationmember": (1000, _member),
    "sentry.organizationmemberteam": (1000, _member_of_team),
    "sentry.environment": (200, _environment),
    PROJECT: (20_000, _project),
    "sentry.projectkey": (20_000, _project_key),
    "sentry.projectoption": (30_000, _project_option),
    "sentry.projectteam": (5000, _of_project(team=_to("sentry.team"))),
    "sentry.environmentproject": (
        4000,
        _of_project(environment=_to("sentry.environment"), is_hidden=False),
    ),
    "sentry.counter": (2000, _of_project(value=lambda _shape, number: number)),
    "sentry.projectbookmark": (500, _of_project(user_id=_to("sentry.user"))),
    "sentry.projectredirect": (
        500,
        _of_project(organization=_to("sentry.organization"), redirect_slug=_numbered("old")),
    ),
    "sentry.projectownership": (
        1000,
        _of_project(
            raw="path:src/* #platform",
            schema={
                "$version": 1,
                "rules": [
                    {
                        "matcher": {"type": "path", "pattern": "src/*"},
                        "owners": [{"type": "team", "identifier": "platform"}],
                    }
                ],
            },
            fallthrough=True,
            is_active=True,
            last_updated=_DATE,
        ),
    ),
    "sentry.rule": (
        2000,
        _of_project(
            environment_id=_to("sentry.environment"),
            owner_user_id=_to("sentry.user"),
            label="Tell us about new issues",
            data=_RULE,
            status=0,
            source=0,
        ),
    ),
    "sentry.ruleactivity": (
        2000,
        _below("rule", "sentry.rule", user_id=_to("sentry.user"), type=1),
    ),
    "sentry.neglectedrule": (
        200,
        _below("rule", "sentry.rule", organization=_to("sentry.organization"), opted_out=False),
    ),
    "sentry.snubaquery": (
        500,
        _below(
            "environment",
            "sentry.environment",
            type=0,
            dataset="events",
            query="level:error",
            aggregate="count()",
            time_window=3600,
            resolution=60,
        ),
    ),
    "sentry.querysubscription": (
        500,
        _of_project(
            snuba_query=_to("sentry.snubaquery"),
            type="incidents",
            status=0,
            subscription_id=lambda shape, _number: f"1/{shape.hex()}",
        ),
    ),
    "sentry.alertrule": (
        500,
        _below(
            "organization",
            "sentry.organization",
            snuba_query=_to("sentry.snubaquery"),
            team=_to("sentry.team"),
            name="Many errors",
            status=0,
            monitor_type=0,
            threshold_type=0,
            threshold_period=1,
            resolve_threshold=10.5,
        ),
    ),
    "sentry.alertruletrigger": (
        500,
        _below(
            "alert_rule",
            "sentry.alertrule",
            label="critical",
            alert_threshold=100.0,
            threshold_type=0,
        ),
    ),
    "sentry.alertruleprojects": (
        500,
        _of_project(alert_rule=_to("sentry.alertrule")),
    ),
    "sentry.monitor": (
        1000,
        lambda shape, number: {
            "organization_id": shape.one_of("sentry.organization", number),
            "project_id": shape.one_of(PROJECT, number),
            "owner_team_id": shape.one_of("sentry.team", number),
            "guid": shape.uuid(),
            "slug": "nightly",
            "name": "Nightly",
            "status": 0,
            "type": 3,
            "config": {"schedule": "0 3 * * *", "schedule_type": 1, "timezone": "UTC"},
        },
    ),
    "sentry.dashboard": (
        200,
        _below(
            "organization",
            "sentry.organization",
            created_by_id=_to("sentry.user"),
            title=_numbered("Overview"),
            visits=3,
            last_visited=_DATE,
            filters={"release": ["latest"]},
        ),
    ),
    "sentry.dashboardwidget": (
        400,
        _below(
            "dashboard",
            "sentry.dashboard",
            order=lambda shape, number: number // shape.sizes["sentry.dashboard"],
            title="Errors",
            display_type=0,
            interval="5m",
            widget_type=0,
        ),
    ),
    "sentry.dashboardwidgetquery": (
        400,
        _below(
            "widget",
            "sentry.dashboardwidget",
            order=0,
            name="",
            fields="['count()']",
            aggregates="['count()']",
            conditions="!event.type:transaction",
            orderby="",
        ),
    ),
    "sentry.recentsearch": (
        1000,
        lambda shape, number: {
            "organization": shape.one_of("sentry.organization", number),
            "user_id": shape.one_of("sentry.user", number),
            "type": 0,
            "query": "is:unresolved",
            "query_hash": shape.hex(),
            "last_seen": _DATE,
        },
    ),
}
"""By model: its records in 100,000, and what makes one."""


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as file:
        write_export(make_records(int(sys.argv[1])), file)

"""What the records of a made-up export say: a function for the fields of each larger model."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

Fields = dict[str, Any]
Make = Callable[["Shape", int], Fields]

PROJECT = "sentry.project"
DATE = "2024-03-04T09:00:00.250Z"
_OPTIONS = ("sentry:relay-rev", "sentry:option-epoch", "sentry:origins")
_OPTION_VALUES = ('"6b2c0f7e1d4a4c0c8f6e7d5b3a291817"', 12, '["https://*.example.com"]')


class Shape:
    """How many records of each model there are, and which refers to which."""

    def __init__(self, count: int, shares: Mapping[str, int]) -> None:
        """Take how many of 100,000 records are of each model."""
        self.random = Random(count)  # noqa: S311 - no secret is made of it
        self._moment = datetime(2024, 3, 4, tzinfo=UTC)
        self.sizes = {name: max(1, count * share // 100_000) for name, share in shares.items()}

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


def organization(_shape: Shape, number: int) -> Fields:
    return {
        "slug": f"tenant-{number}",
        "name": f"Tenant {number}",
        "status": 0,
        "default_role": "member",
        "flags": "1",
    }


def option_of_organization(shape: Shape, number: int) -> Fields:
    organizations = shape.sizes["sentry.organization"]
    return {
        "organization": shape.one_of("sentry.organization", number),
        "key": f"sentry:setting_{number // organizations}",
        "value": 90,
    }


def team(shape: Shape, number: int) -> Fields:
    return {
        "organization": shape.one_of("sentry.organization", number),
        "slug": f"team-{number}",
        "name": f"Team {number}",
        "status": 0,
    }


def user(shape: Shape, number: int) -> Fields:
    return {
        "username": f"person-{number}@example.com",
        "name": f"Person {number}",
        "email": f"person-{number}@example.com",
        "password": f"pbkdf2_sha256$600000${shape.hex(12)}${shape.hex(43)}=",
        "is_active": True,
        "last_password_change": DATE,
        "last_active": DATE,
        "avatar_type": 0,
    }


def email(_shape: Shape, number: int) -> Fields:
    return {"email": f"person-{number}@example.com"}


def user_email(shape: Shape, number: int) -> Fields:
    return {
        "user": shape.one_of("sentry.user", number),
        "email": f"person-{number}@example.com",
        "is_verified": True,
        "validation_hash": shape.hex(),
    }


def user_option(shape: Shape, number: int) -> Fields:
    user = shape.one_of("sentry.user", number)
    return {"user": user, "key": "timezone", "value": '"Europe/Vienna"'}


def member(shape: Shape, number: int) -> Fields:
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


def member_of_team(shape: Shape, number: int) -> Fields:
    return {
        "organizationmember": shape.one_of("sentry.organizationmember", number),
        "team": shape.one_of("sentry.team", number),
        "is_active": True,
    }


def environment(shape: Shape, number: int) -> Fields:
    organization = shape.one_of("sentry.organization", number)
    return {"organization_id": organization, "name": f"stage-{number}"}


def project(shape: Shape, number: int) -> Fields:
    return {
        "organization": shape.one_of("sentry.organization", number),
        "slug": f"service-{number}",
        "name": f"Service {number}",
        "platform": "python-django",
        "status": 0,
        "flags": "10",
    }


def project_key(shape: Shape, number: int) -> Fields:
    return {
        "project": shape.one_of(PROJECT, number),
        "label": "Default",
        "public_key": shape.hex(),
        "secret_key": shape.hex(),
        "roles": "1",
        "status": 0,
        "data": {"dynamicSdkLoaderOptions": {"hasPerformance": True, "hasReplay": True}},
    }


def project_option(shape: Shape, number: int) -> Fields:
    which = number // shape.sizes[PROJECT]
    return {
        "project": shape.one_of(PROJECT, number),
        "key": _OPTIONS[which],
        "value": _OPTION_VALUES[which],
    }


def of_project(**values: object) -> Make:
    """Return what makes a record below a project; callable values are made anew for each."""

    def make(shape: Shape, number: int) -> Fields:
        made = {name: _value(value, shape, number) for name, value in values.items()}
        return {"project": shape.one_of(PROJECT, number), **made}

    return make


def below(field: str, model: str, **values: object) -> Make:
    def make(shape: Shape, number: int) -> Fields:
        made = {name: _value(value, shape, number) for name, value in values.items()}
        return {field: shape.one_of(model, number), **made}

    return make


def _value(value: object, shape: Shape, number: int) -> object:
    return value(shape, number) if callable(value) else value


def to(model: str) -> Callable[[Shape, int], int]:
    return lambda shape, number: shape.one_of(model, number)


def numbered(name: str) -> Callable[[Shape, int], str]:
    return lambda _shape, number: f"{name}-{number}"

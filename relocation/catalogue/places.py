"""Where ids lie inside values: the places that an import remaps, and no others."""

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum, auto
from functools import cache
from typing import Final

EACH: Final = "[]"
"""In a path: every item of a list."""


class Lost(Enum):
    """What stands in a place whose record was not imported: the product's own nobody."""

    EMPTY = auto()
    """Null."""
    REMOVED = auto()
    """Neither the id nor its key; an item leaves its list."""
    ZERO = auto()
    """No record has this id."""
    RECORD = auto()
    """Nothing: the record says nothing without it, and is dropped."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A place of ids in one field of a model."""

    model: str
    field: str
    path: tuple[str, ...]
    """Keys, and EACH for the items of a list; empty where the value itself is the id."""
    to: str
    """The model that the id names."""
    when: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By key beside the id (by field of the record, where the path is empty or begins with EACH):
    the pattern that its whole value, as text, must match."""
    lost: Lost = Lost.EMPTY
    search: bool = False
    """Whether the value is the text of a search, and the ids are those of its project terms."""

    @property
    def within(self) -> bool:
        """Tell whether what `when` speaks of lies in the value, not in the record."""
        return bool(self.path) and self.path[0] != EACH


def _targets(model: str, column: str, *path: str, teams: str, users: str) -> list[Place]:
    """Return the two places of one identifier that names a team or a user, as its type says."""
    *_, own = path or (column,)
    kind = own.replace("Identifier", "Type").replace("_identifier", "_type")
    return [
        Place(model, column, path, to, {kind: pattern})
        for to, pattern in (("sentry.team", teams), ("sentry.user", users))
    ]


_RULE: Final = "sentry.rule"
_ACTION: Final = ("actions", EACH)
_INTEGRATIONS: Final = (
    ("workspace", "slack"),
    ("team", "msteams"),
    ("account", "pagerduty|opsgenie"),
    ("server", "discord"),
    ("integration", r"\w+"),
)

PLACES: Final = (
    *(
        place
        for part in ("actions", "conditions", "filters")
        for place in _targets(
            _RULE, "data", part, EACH, "targetIdentifier", teams="Team", users="Member"
        )
    ),
    *(
        Place(
            _RULE,
            "data",
            (*_ACTION, key),
            "sentry.integration",
            {"id": rf"sentry\.integrations\.({provider})\..+"},
        )
        for key, provider in _INTEGRATIONS
    ),
    *_targets(
        "workflow_engine.datacondition",
        "comparison",
        "target_identifier",
        teams="Team",
        users="Member",
    ),
    *(
        Place("workflow_engine.datasource", "source_id", (), to, {"type": kind}, Lost.RECORD)
        for kind, to in (
            ("snuba_query_subscription", "sentry.querysubscription"),
            ("cron_monitor", "sentry.monitor"),
            ("uptime_subscription", "uptime.uptimesubscription"),
        )
    ),
    Place(
        "sentry.organizationmemberinvite",
        "organization_member_team_data",
        (EACH, "id"),
        "sentry.team",
    ),
    # The rule that tells of missed check-ins: an issue alert rule, whatever the key says.
    Place("sentry.monitor", "config", ("alert_rule_id",), _RULE),
    *_targets("sentry.notificationaction", "target_identifier", teams="2", users="1"),
    Place(
        "sentry.notificationaction",
        "target_identifier",
        (),
        "sentry.sentryapp",
        {"target_type": "3"},
    ),
    *_targets("sentry.alertruletriggeraction", "target_identifier", teams="2", users="1"),
    Place(
        "sentry.alertruletriggeraction",
        "target_identifier",
        (),
        "sentry.sentryapp",
        {"target_type": "3"},
    ),
    *(
        Place(
            "sentry.projectownership",
            "schema",
            ("rules", EACH, "owners", EACH, "id"),
            f"sentry.{kind}",
            {"type": kind},
            Lost.REMOVED,
        )
        for kind in ("team", "user")
    ),
    Place("sentry.dashboard", "filters", ("release_id", EACH), "sentry.release", lost=Lost.REMOVED),
    Place(
        "sentry.useroption",
        "value",
        (EACH,),
        "sentry.organization",
        {"key": "reports:disabled-organizations"},
        Lost.REMOVED,
    ),
    *(
        Place(model, column, (), "sentry.project", lost=Lost.ZERO, search=True)
        for model, column in (
            ("sentry.savedsearch", "query"),
            ("sentry.dashboardwidgetquery", "conditions"),
            ("sentry.snubaquery", "query"),
            ("sentry.groupsearchview", "query"),
        )
    ),
)
"""A number anywhere else is never changed: it may be no id at all."""


@cache
def places_of(model: str) -> Mapping[str, tuple[Place, ...]]:
    """Return the places of a model, by field."""
    found: dict[str, tuple[Place, ...]] = {}
    for place in PLACES:
        if place.model == model:
            found[place.field] = (*found.get(place.field, ()), place)
    return found


def matches(place: Place, beside: Mapping[str, object]) -> bool:
    """Tell whether what is beside an id says that it is of this place."""
    return all(
        re.fullmatch(pattern, str(beside.get(key))) is not None
        for key, pattern in place.when.items()
    )

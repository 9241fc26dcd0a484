"""From which version of the product on a model or a field is there, as far as we have seen.

What is named nowhere here is in 23.7, the oldest version whose tables were looked at, or else newer
than 24.7, the newest version of which an export of every model was.
"""

from collections.abc import Mapping
from typing import Final

OLDEST: Final = "23.7"
NEWEST: Final = "24.7"

_SEEN: Final[Mapping[str, tuple[str, ...]]] = {
    "23.9": ("sentry.neglectedrule", "sentry.user.is_unclaimed"),
    "24.7": (
        "sentry.alertrule.description",
        "sentry.alertrule.monitor_type",
        "sentry.alertrule.team",
        "sentry.alertrule.user_id",
        "sentry.alertruleactivationcondition",
        "sentry.alertruleprojects",
        "sentry.alertruletriggeraction.status",
        "sentry.apitoken.hashed_refresh_token",
        "sentry.apitoken.hashed_token",
        "sentry.apitoken.name",
        "sentry.apitoken.token_last_characters",
        "sentry.apitoken.token_type",
        "sentry.customdynamicsamplingrule",
        "sentry.customdynamicsamplingruleproject",
        "sentry.dashboardwidget.discover_widget_split",
        "sentry.dashboardwidget.thresholds",
        "sentry.dashboardwidgetquery.date_modified",
        "sentry.dashboardwidgetquery.is_hidden",
        "sentry.dashboardwidgetqueryondemand",
        "sentry.groupsearchview",
        "sentry.incident.activation",
        "sentry.incident.subscription",
        "sentry.incidentactivity.notification_uuid",
        "sentry.monitor.is_muted",
        "sentry.monitor.owner_team_id",
        "sentry.monitor.owner_user_id",
        "sentry.project.template",
        "sentry.projectkey.use_case",
        "sentry.projecttemplate",
        "sentry.projecttemplateoption",
        "sentry.querysubscription.query_extra",
        "sentry.repository.languages",
        "sentry.rule.owner_team",
        "sentry.rule.owner_user_id",
        "sentry.sentryapp.metadata",
        "sentry.spanattributeextractionrulecondition",
        "sentry.spanattributeextractionruleconfig",
    ),
}
_NEWER: Final = frozenset(
    {
        "sentry.alertrule.detection_type",
        "sentry.alertrule.seasonality",
        "sentry.alertrule.sensitivity",
        "sentry.apiauthorization.organization_id",
        "sentry.apigrant.organization_id",
        "sentry.apitoken.scoping_organization_id",
        "sentry.dashboardfavoriteuser",
        "sentry.dashboardlastvisited",
        "sentry.dashboardpermissions",
        "sentry.dashboardpermissionsteam",
        "sentry.dataforwarder",
        "sentry.dataforwarderproject",
        "sentry.datasecrecywaiver",
        "sentry.groupsearchviewlastvisited",
        "sentry.groupsearchviewproject",
        "sentry.groupsearchviewstarred",
        "sentry.organizationmemberinvite",
        "sentry.projectsdk",
        "sentry.user.is_suspended",
    }
)
_NEWER_APPS: Final = ("explore.", "workflow_engine.")
_ENTERED: Final = {place: version for version, places in _SEEN.items() for place in places}


def first_version(model: str, field: str | None = None) -> str:
    """Say from which version on it was seen: "" where every version that we know has it."""
    for place in (model, f"{model}.{field}"):
        if place in _ENTERED:
            return f"from {_ENTERED[place]} on"
        if place in _NEWER or place.startswith(_NEWER_APPS):
            return f"only after {NEWEST}"
    return ""

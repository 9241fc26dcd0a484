"""Which models a made-up export has, how many records of each, and what makes one."""

import orjson

from benchmarks.export_fields import (
    DATE,
    PROJECT,
    Make,
    below,
    email,
    environment,
    member,
    member_of_team,
    numbered,
    of_project,
    option_of_organization,
    organization,
    project,
    project_key,
    project_option,
    team,
    to,
    user,
    user_email,
    user_option,
)

_RULE = orjson.dumps(
    {
        "match": "all",
        "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
        "actions": [{"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"}],
    }
).decode()

MODELS: dict[str, tuple[int, Make]] = {
    "sentry.organization": (20, organization),
    "sentry.organizationoption": (180, option_of_organization),
    "sentry.team": (400, team),
    "sentry.user": (1000, user),
    "sentry.email": (1000, email),
    "sentry.useremail": (1000, user_email),
    "sentry.useroption": (1000, user_option),
    "sentry.organizationmember": (1000, member),
    "sentry.organizationmemberteam": (1000, member_of_team),
    "sentry.environment": (200, environment),
    PROJECT: (20_000, project),
    "sentry.projectkey": (20_000, project_key),
    "sentry.projectoption": (30_000, project_option),
    "sentry.projectteam": (5000, of_project(team=to("sentry.team"))),
    "sentry.environmentproject": (
        4000,
        of_project(environment=to("sentry.environment"), is_hidden=False),
    ),
    "sentry.counter": (2000, of_project(value=lambda _shape, number: number)),
    "sentry.projectbookmark": (500, of_project(user_id=to("sentry.user"))),
    "sentry.projectredirect": (
        500,
        of_project(organization=to("sentry.organization"), redirect_slug=numbered("old")),
    ),
    "sentry.projectownership": (
        1000,
        of_project(
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
            last_updated=DATE,
        ),
    ),
    "sentry.rule": (
        2000,
        of_project(
            environment_id=to("sentry.environment"),
            owner_user_id=to("sentry.user"),
            label="Tell us about new issues",
            data=_RULE,
            status=0,
            source=0,
        ),
    ),
    "sentry.ruleactivity": (
        2000,
        below("rule", "sentry.rule", user_id=to("sentry.user"), type=1),
    ),
    "sentry.neglectedrule": (
        200,
        below("rule", "sentry.rule", organization=to("sentry.organization"), opted_out=False),
    ),
    "sentry.snubaquery": (
        500,
        below(
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
        of_project(
            snuba_query=to("sentry.snubaquery"),
            type="incidents",
            status=0,
            subscription_id=lambda shape, _number: f"1/{shape.hex()}",
        ),
    ),
    "sentry.alertrule": (
        500,
        below(
            "organization",
            "sentry.organization",
            snuba_query=to("sentry.snubaquery"),
            team=to("sentry.team"),
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
        below(
            "alert_rule",
            "sentry.alertrule",
            label="critical",
            alert_threshold=100.0,
            threshold_type=0,
        ),
    ),
    "sentry.alertruleprojects": (
        500,
        of_project(alert_rule=to("sentry.alertrule")),
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
        below(
            "organization",
            "sentry.organization",
            created_by_id=to("sentry.user"),
            title=numbered("Overview"),
            visits=3,
            last_visited=DATE,
            filters={"release": ["latest"]},
        ),
    ),
    "sentry.dashboardwidget": (
        400,
        below(
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
        below(
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
            "last_seen": DATE,
        },
    ),
}
"""By model: its records in 100,000, and what makes one."""

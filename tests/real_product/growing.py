"""Grow a source to any size with the product's own models, and time its own export and import.

It runs inside the product's environment, once that is configured, and imports nothing of ours.
"""

import time
import uuid

from sentry import models as sentry
from sentry.runner.commands import backup

OPTIONS = 4
"""Of each project."""


def grow(projects):
    """Add organizations of 100 projects each, with what a project has, and return their slugs."""
    slugs = []
    for number in range(0, projects, 100):
        slugs.append(f"grown-{number}")
        _organization(slugs[-1], min(100, projects - number))
    return slugs


def _organization(slug, projects):
    organization = sentry.Organization.objects.create(name=slug, slug=slug)
    users = [
        sentry.User.objects.create(username=f"{slug}-{one}", email=f"{slug}-{one}@example.org")
        for one in range(max(2, projects // 10))
    ]
    members = [
        sentry.OrganizationMember.objects.create(
            organization=organization, user_id=user.id, role="member"
        )
        for user in users
    ]
    team = sentry.Team.objects.create(organization=organization, name="Core", slug="core")
    joined = [
        sentry.OrganizationMemberTeam(team=team, organizationmember=member) for member in members
    ]
    sentry.OrganizationMemberTeam.objects.bulk_create(joined)
    environment = sentry.Environment.objects.create(
        organization_id=organization.id, name="production"
    )
    made = sentry.Project.objects.bulk_create(
        [
            sentry.Project(organization=organization, name=f"Web {one}", slug=f"{slug}-web-{one}")
            for one in range(projects)
        ]
    )
    for model, make in (
        (sentry.ProjectTeam, lambda: [{"team": team}]),
        (sentry.EnvironmentProject, lambda: [{"environment": environment}]),
        (sentry.ProjectKey, lambda: [_key()]),
        (
            sentry.ProjectOption,
            lambda: [{"key": f"sentry:{one}", "value": one} for one in range(OPTIONS)],
        ),
        (sentry.Rule, lambda: [{"label": "All", "data": _rule(team)}]),
    ):
        rows = [model(project=one, **fields) for one in made for fields in make()]
        model.objects.bulk_create(rows, batch_size=1000)


def _key():
    return {"label": "Default", "public_key": uuid.uuid4().hex, "secret_key": uuid.uuid4().hex}


def _rule(team):
    action = {
        "id": "sentry.mail.actions.NotifyEmailAction",
        "targetType": "Team",
        "targetIdentifier": team.id,
    }
    first_seen = {"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}
    return {"match": "all", "conditions": [first_seen], "actions": [action]}


def own_export(path):
    """Return the seconds that the product's own export takes, without its start."""
    return _timed(backup.export, [path, "--silent"])


def own_import(path):
    """Return the seconds that the product's own import takes, without its start."""
    return _timed(backup.import_, [path])


def _timed(command, arguments):
    begin = time.perf_counter()
    command.main(arguments, standalone_mode=False)
    return time.perf_counter() - begin


ASKED = {one.__name__: one for one in (grow, own_export, own_import)}

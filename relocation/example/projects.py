"""Made-up projects with their keys, rules, alerts and monitors."""

from relocation.example.export import Export, Organization, json_text

PLATFORMS = ("python-django", "javascript-react", "go", "ruby-rails", "java-spring", None)


def add_project(export: Export, org: Organization, number: int) -> None:
    """Add a project, the organization's `number`-th from 0, and everything below it."""
    platform = PLATFORMS[number % len(PLATFORMS)]
    slug = f"{(platform or 'other').split('-')[0]}-{number + 1}"
    project = export.add(
        "sentry.project",
        newer=org.newer,
        organization=org.pk,
        slug=slug,
        name=slug.replace("-", " ").title(),
        platform=platform,
        status=0,
        flags="10",
    )
    team = org.teams[number % len(org.teams)]
    export.add("sentry.projectteam", project=project, team=team)
    for environment in org.environments:
        export.add("sentry.environmentproject", environment=environment, project=project)
    _add_keys(export, project, count=2 + number % 2)
    _add_settings(export, org, project, slug)
    _add_rule(export, org, project)
    _add_alert(export, org, project, team)
    export.add(
        "sentry.monitor",
        organization_id=org.pk,
        project_id=project,
        owner_team_id=team,
        guid=export.uuid(),
        slug="nightly",
        name="Nightly",
        status=0,
        type=3,
        config={"schedule": "0 3 * * *", "schedule_type": 1, "timezone": "UTC"},
    )


def _add_keys(export: Export, project: int, *, count: int) -> None:
    for number in range(count):
        export.add(
            "sentry.projectkey",
            project=project,
            label="Default" if number == 0 else f"Key {number + 1}",
            public_key=export.hex(),
            secret_key=export.hex(),
            roles="1",
            status=0,
            data={"dynamicSdkLoaderOptions": {"hasPerformance": True, "hasReplay": number > 0}},
        )


def _add_settings(export: Export, org: Organization, project: int, slug: str) -> None:
    for key, value in (
        ("sentry:relay-rev", json_text(export.hex())),
        ("sentry:option-epoch", 12),
        ("sentry:origins", json_text(["*"])),
    ):
        export.add("sentry.projectoption", project=project, key=key, value=value)
    export.add("sentry.counter", project=project, value=1000 + project % 1000)
    export.add("sentry.projectbookmark", project=project, user_id=org.owner)
    export.add(
        "sentry.projectredirect",
        organization=org.pk,
        project=project,
        redirect_slug=f"old-{slug}",
    )
    owner = {"type": "team", "identifier": "platform"}
    export.add(
        "sentry.projectownership",
        project=project,
        raw="path:src/* #platform",
        schema={
            "$version": 1,
            "rules": [{"matcher": {"type": "path", "pattern": "src/*"}, "owners": [owner]}],
        },
        fallthrough=True,
        is_active=True,
        date_created=export.now(),
        last_updated=export.now(),
    )


def _add_rule(export: Export, org: Organization, project: int) -> None:
    data = {
        "match": "all",
        "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
        "actions": [{"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"}],
    }
    rule = export.add(
        "sentry.rule",
        project=project,
        environment_id=org.environments[0],
        owner_user_id=org.owner,
        label="Tell us about new issues",
        data=json_text(data),
        status=0,
        source=0,
    )
    export.add("sentry.ruleactivity", rule=rule, user_id=org.owner, type=1)
    export.add("sentry.rulesnooze", rule=rule, owner_id=org.owner, until=export.now(days=7))


def _add_alert(export: Export, org: Organization, project: int, team: int) -> None:
    query = export.add(
        "sentry.snubaquery",
        environment=org.environments[0],
        type=0,
        dataset="events",
        query="level:error",
        aggregate="count()",
        time_window=3600,
        resolution=60,
    )
    export.add(
        "sentry.querysubscription",
        project=project,
        snuba_query=query,
        type="incidents",
        status=0,
        subscription_id=f"1/{export.hex()}",
    )
    alert = export.add(
        "sentry.alertrule",
        organization=org.pk,
        snuba_query=query,
        team=team,
        name="Many errors",
        status=0,
        monitor_type=0,
        threshold_type=0,
        threshold_period=1,
        resolve_threshold=10.5,
    )
    export.add("sentry.alertruleprojects", alert_rule=alert, project=project)
    for label, threshold in (("critical", 100.0), ("warning", 50.0)):
        export.add(
            "sentry.alertruletrigger",
            alert_rule=alert,
            label=label,
            alert_threshold=threshold,
            threshold_type=0,
        )

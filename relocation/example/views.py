"""Made-up dashboards, searches, tokens and notification actions of an organization."""

from relocation.example.export import Export, Organization


def add_views(export: Export, org: Organization) -> None:
    """Add what the members of an organization look at, and how it is reached from outside."""
    _add_dashboard(export, org)
    export.add(
        "sentry.savedsearch",
        organization=org.pk,
        owner_id=org.owner,
        name=f"Unhandled in {org.slug}",
        query="is:unresolved error.unhandled:true",
        sort="date",
        type=0,
        visibility="organization",
    )
    for position, name in enumerate(("Mine", "For review")):
        export.add(
            "sentry.groupsearchview",
            organization=org.pk,
            user_id=org.owner,
            name=name,
            position=position,
        )
    export.add(
        "sentry.orgauthtoken",
        organization_id=org.pk,
        created_by=org.owner,
        name="Continuous integration",
        token_hashed=export.hex(64),
        token_last_characters=export.hex(4),
        scope_list=str(["org:ci"]),
        date_last_used=None,
        date_deactivated=None,
    )
    export.add(
        "sentry.notificationaction",
        organization=org.pk,
        type=0,
        target_type=1,
        target_identifier=str(org.owner),
        target_display="The owner",
        trigger_type=0,
    )


def _add_dashboard(export: Export, org: Organization) -> None:
    dashboard = export.add(
        "sentry.dashboard",
        organization=org.pk,
        created_by_id=org.owner,
        title="Overview",
        visits=3,
        last_visited=export.now(),
        filters={"release": ["latest"]},
    )
    for order, (title, aggregate) in enumerate(
        (("Errors", "count()"), ("Affected users", "count_unique(user)"))
    ):
        widget = export.add(
            "sentry.dashboardwidget",
            dashboard=dashboard,
            order=order,
            title=title,
            display_type=0,
            interval="5m",
            widget_type=0,
            detail=None,
            thresholds=None,
        )
        export.add(
            "sentry.dashboardwidgetquery",
            widget=widget,
            order=0,
            name="",
            fields=str([aggregate]),
            aggregates=str([aggregate]),
            conditions="!event.type:transaction",
            orderby="",
        )

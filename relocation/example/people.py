"""Made-up users, and the organizations and teams they are members of."""

from typing import Any

from relocation.example.export import Export, Organization, json_text

NAMES = ("ada", "ben", "chidi", "dana", "emil", "farah", "goran", "hana", "ines", "jonas", "kaya")

_MEMBER: dict[str, Any] = {
    "has_global_access": True,
    "invite_status": 0,
    "type": 50,
    "user_is_active": True,
}


def add_instance(export: Export) -> None:
    """Add what belongs to the instance: its options and its relay."""
    for key, value in (("sentry:install-id", export.hex(40)), ("sentry:latest_version", "24.5.0")):
        export.add("sentry.option", key=key, value=json_text(value), last_updated=export.now())
    export.add("sentry.option", key="system.rate-limit", value=500, last_updated=export.now())
    export.add("sentry.relay", relay_id=export.uuid(), public_key=export.hex(43), is_internal=True)


def add_organization(export: Export, slug: str, *, newer: bool) -> Organization:
    """Add an organization with its owner, teams and environments; the first's owner is an admin."""
    pk = export.add(
        "sentry.organization",
        newer=newer,
        slug=slug,
        name=slug.replace("-", " ").title(),
        status=0,
        default_role="member",
        flags="1",
    )
    for key, value in (("sentry:events-retention", 90), ("sentry:join_requests", json_text(True))):
        export.add("sentry.organizationoption", organization=pk, key=key, value=value)
    teams = [
        export.add(
            "sentry.team", newer=newer, organization=pk, slug=name, name=name.title(), status=0
        )
        for name in ("platform", "web")
    ]
    environments = [
        export.add("sentry.environment", organization_id=pk, name=name)
        for name in ("production", "staging")
    ]
    owner = _add_user(export, f"{NAMES[0]}.{slug}", admin=not newer)
    return Organization(pk, slug, newer, owner, teams, environments)


def add_members(export: Export, org: Organization, *, count: int, guest: int | None) -> None:
    """Add the owner and `count` - 1 new users as members, a guest, and a pending invitation."""
    _add_member(export, org, org.owner, role="owner")
    for number in range(1, count):
        again, which = divmod(number, len(NAMES))
        user = _add_user(export, f"{NAMES[which]}{again + 1 if again else ''}.{org.slug}")
        _add_member(export, org, user, role="member", inviter_id=org.owner)
    if guest is not None:
        _add_member(export, org, guest, role="manager", inviter_id=org.owner)
    export.add(
        "sentry.organizationmember",
        organization=org.pk,
        email=f"newcomer.{org.slug}@example.com",
        token=export.hex(64),
        token_expires_at=export.now(days=30),
        inviter_id=org.owner,
        role="member",
        flags="0",
        **_MEMBER,
    )


def _add_user(export: Export, username: str, *, admin: bool = False) -> int:
    address = f"{username}@example.com"
    user = export.add(
        "sentry.user",
        username=username,
        name=username.partition(".")[0].capitalize(),
        email=address,
        password=f"pbkdf2_sha256$600000${export.hex(12)}${export.hex(43)}=",
        is_active=True,
        is_staff=admin,
        is_superuser=admin,
        is_sentry_app=None,
        last_password_change=export.now(),
        last_active=export.now(),
        avatar_type=0,
    )
    export.addresses[user] = address
    for email, verified in ((address, True), (f"{username}@example.org", False)):
        export.add("sentry.email", email=email)
        export.add(
            "sentry.useremail",
            user=user,
            email=email,
            is_verified=verified,
            validation_hash=export.hex(),
        )
    export.add("sentry.useroption", user=user, key="timezone", value=json_text("Europe/Vienna"))
    export.add("sentry.authenticator", user=user, type=1, config='""', created_at=export.now())
    if admin:
        permissions = str(["broadcasts.admin", "users.admin"])
        role = export.add("sentry.userrole", name="Super Admin", permissions=permissions)
        export.add("sentry.userroleuser", user=user, role=role)
    return user


def _add_member(export: Export, org: Organization, user: int, **values: Any) -> None:
    member = export.add(
        "sentry.organizationmember",
        organization=org.pk,
        user_id=user,
        user_email=export.addresses[user],
        **values,
        **_MEMBER,
    )
    export.add(
        "sentry.organizationmemberteam",
        organizationmember=member,
        team=org.teams[member % len(org.teams)],
        is_active=True,
    )
    export.add(
        "sentry.recentsearch",
        organization=org.pk,
        user_id=user,
        type=0,
        query="is:unresolved",
        query_hash=export.hex(),
        last_seen=export.now(),
    )

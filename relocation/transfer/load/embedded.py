"""What an embedded destination needs before anything can be relocated into it."""

from datetime import UTC, datetime

from sqlalchemy import Engine, insert

from relocation.catalogue import load_catalogue
from relocation.transfer.database.schema import reflect
from relocation.transfer.load.ownership import find_user


def add_users(destination: Engine, usernames: tuple[str, ...]) -> list[str]:
    """Add users who can own what is relocated, with addresses at example.org; idempotent.

    Returns those that were not there.
    """
    users = reflect(destination, [load_catalogue()["sentry.user"]])["sentry.user"].table
    added = []
    now = datetime.now(UTC).replace(tzinfo=None)
    for name in usernames:
        if find_user(destination, name) is not None:
            continue
        added.append(name)
        with destination.begin() as connection:
            connection.execute(
                insert(users).values(
                    username=name,
                    email=f"{name}@example.org",
                    first_name=name.title(),
                    password="!",  # noqa: S106 - no password can match it
                    is_active=True,
                    is_staff=False,
                    is_superuser=False,
                    is_unclaimed=False,
                    date_joined=now,
                )
            )
    return added

"""Wherever a process dies, the relocation ends as if it had not."""

import os
import random
from collections import Counter
from typing import Any

import pytest
from mortal_world import End, World

from relocation.ledger.tables import NoticeState
from relocation.recovery.runs import RunState
from relocation.steps import Status

SAMPLE = 3
"""Points that are tried unless the environment asks for all of them, with KILL=all."""
PAIRS = 1

UNSTABLE = {
    "relocation_fence": {"relocation_id", "fence"},  # each takeover raises the fence
    "relocation_import_chunk": {"relocation_id"},
    "auth_user": {"password", "last_password_change"},  # marked as unusable
    "sentry_useremail": {"validation_hash", "date_hash_added"},
    "sentry_organizationmember": {"date_added"},  # of the new owner
    "sentry_monitor": {"guid"},
    "sentry_querysubscription": {"date_updated"},
    "sentry_lostpasswordhash": {"hash", "date_added"},  # a token is a secret
}
"""Columns that two relocations of the same archive never have in common."""


@pytest.fixture(scope="module")
def undisturbed(world: World) -> End:
    """What a relocation leaves of which no process dies."""
    return world.live()


@pytest.fixture(scope="module")
def points(undisturbed: End) -> list[str]:
    """Every commit that an undisturbed relocation comes to, just before and just after."""
    found = undisturbed.trail
    assert len(found) == len(set(found)) > 60
    if os.environ.get("KILL") == "all":
        return found
    return found[:: len(found) // SAMPLE]


def stable(end: End) -> dict[str, list[dict[str, Any]]]:
    """The rows of the destination without what is random in them."""
    return {
        table: [
            {name: value for name, value in row.items() if name not in UNSTABLE.get(table, ())}
            for row in rows
        ]
        for table, rows in end.rows.items()
    }


def same_end(end: End, undisturbed: End) -> None:
    """Assert that a disturbed relocation left what an undisturbed one does."""
    assert (end.status, end.run) == (Status.SUCCESS, RunState.COMPLETED)
    assert stable(end) == stable(undisturbed)
    assert end.told == undisturbed.told
    assert {notice.state for notice in end.notices} == {NoticeState.SENT}
    arrived = Counter(str(mail.message["Message-ID"]) for mail in end.mails)
    for notice in end.notices:
        # A process that dies between the last byte and its record cannot know whether it arrived.
        assert 1 <= arrived.pop(notice.message_id) <= 1 + notice.ambiguous
    assert not arrived


def test_two_relocations_of_one_archive_leave_the_same(world: World, undisturbed: End) -> None:
    """Else the comparisons below would say nothing."""
    again = world.live()
    same_end(undisturbed, undisturbed)
    same_end(again, undisturbed)
    assert again.deaths == 0
    assert all(notice.ambiguous == 0 for notice in again.notices)
    assert again.trail == undisturbed.trail


def test_a_death_at_any_commit_changes_nothing(
    world: World, undisturbed: End, points: list[str], subtests: pytest.Subtests
) -> None:
    for number, point in enumerate(points):
        silently = number % 2 == 1
        with subtests.test(f"{'with its worker, ' if silently else ''}{point}"):
            end = world.live(point, silently=silently)
            assert end.deaths == 1
            same_end(end, undisturbed)


def test_two_deaths_change_nothing(
    world: World, undisturbed: End, points: list[str], subtests: pytest.Subtests
) -> None:
    pick = random.Random(4)  # noqa: S311 - the same pairs each time
    pairs = len(points) if os.environ.get("KILL") == "all" else PAIRS
    for _ in range(pairs):
        first = pick.choice(undisturbed.trail)
        # The second process numbers its own commits, and has fewer of them before it.
        second = pick.choice(undisturbed.trail[:20])
        with subtests.test(f"{first}; then {second}"):
            end = world.live(first, second)
            assert end.deaths >= 1
            same_end(end, undisturbed)

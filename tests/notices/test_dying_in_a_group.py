"""Wherever the sender of a group dies: one mail is in doubt at most, none is lost or sent twice."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from smtp_peer import Peer
from sqlalchemy import Engine, delete, func, select

from relocation.ledger.dispatch import DeliveryPolicy, release_expired
from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator

pytestmark = pytest.mark.kill

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True)
NOW = datetime(2026, 3, 19, 15, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
PEOPLE = 4
KILLED = -signal.SIGKILL

Drain = Callable[..., int]


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """A ledger that holds one relocation, on each database."""
    return either_ledger


@pytest.fixture
def drain(ledger: Engine, peer: Peer) -> Iterator[Drain]:
    """Work through the outbox in a process of its own; returns how it ended."""
    url = ledger.url.render_as_string(hide_password=False)
    command = [sys.executable, str(Path(__file__).with_name("drains.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        orders, answers = process.stdin, process.stdout
        assert orders is not None
        assert answers is not None

        def drain(now: datetime, die_at: str | None = None) -> int:
            order = {"ledger": url, "port": peer.port, "now": now.isoformat(), "die_at": die_at}
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return int(answers.readline())

        yield drain
        orders.close()


@pytest.fixture
def put(ledger: Engine, facts: dict[NoticeKind, dict[str, Any]]) -> Callable[[], None]:
    """Fill the outbox with notices to some people."""
    drafts = [
        NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org", facts[NoticeKind.CLAIM], str(n))
        for n in range(PEOPLE)
    ]

    def put() -> None:
        with ledger.begin() as connection:
            connection.execute(delete(notices))
            enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)

    return put


def _in_doubt(ledger: Engine) -> int:
    with ledger.begin() as connection:
        doubtful = notices.c.state == NoticeState.SENDING
        return connection.execute(select(func.count()).where(doubtful)).scalar_one()


def _comes_to_a_good_end(ledger: Engine, peer: Peer, drain: Drain) -> None:
    """Assert that what a dead sender left is neither lost nor sent twice without need."""
    taken = {to for _, (to,), _ in peer.taken}
    left = notices_of(ledger, RELOCATION)
    assert _in_doubt(ledger) <= 1
    over = {one.recipient for one in left if one.state is NoticeState.SENT}
    doubtful = {one.recipient for one in left if one.state is NoticeState.SENDING}
    assert over <= taken <= over | doubtful
    release_expired(ledger, POLICY, now=NOW + timedelta(hours=1))
    assert drain(LATER) == 0
    ended = {one.recipient: one for one in notices_of(ledger, RELOCATION)}
    assert {one.state for one in ended.values()} == {NoticeState.SENT}
    copies: dict[str, list[bytes]] = {}
    for _, (to,), wire in peer.taken:
        copies.setdefault(to, []).append(wire)
    assert set(copies) == set(ended)
    assert all(len(wires) <= 1 + ended[to].ambiguous for to, wires in copies.items())
    assert all(len(set(wires)) == 1 for wires in copies.values())
    assert sum(one.ambiguous for one in ended.values()) == len(doubtful)


def test_a_death_at_any_commit_leaves_one_in_doubt_at_most(
    ledger: Engine, peer: Peer, drain: Drain, put: Callable[[], None]
) -> None:
    peer.pipelining = ledger.dialect.name == "postgresql"
    commits = 0
    ended = KILLED
    doubts = Counter[int]()
    while ended == KILLED:
        commits += 1
        for when in ("before", "after"):
            put()
            peer.taken.clear()
            ended = drain(NOW, f"{when} {commits}")
            doubts[_in_doubt(ledger)] += 1
            _comes_to_a_good_end(ledger, peer, drain)
    assert ended == 0
    assert commits > 2 * PEOPLE
    assert doubts[1] >= PEOPLE

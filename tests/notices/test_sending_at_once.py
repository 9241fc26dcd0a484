"""Several processes send from one outbox: each notice goes out once, also where one is killed."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from smtp_peer import Peer
from sqlalchemy import Engine, text

from relocation.ledger.dispatch import DeliveryPolicy, release_expired
from relocation.ledger.outbox import enqueue, notices_of
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator

pytestmark = pytest.mark.kill

RELOCATION = "0b7d1c9e-5f0e-4a87-9f1e-3f2f7ab0c1de"
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True)
DRAIN = Path(__file__).with_name("drain.py")


@pytest.fixture
def ledger(either_ledger: Engine) -> Engine:
    """A ledger that holds one relocation, on each database."""
    return either_ledger


def _put(
    ledger: Engine, kind: NoticeKind, facts: dict[NoticeKind, dict[str, Any]], people: int
) -> None:
    drafts = [NoticeDraft(kind, f"{n}@example.org", facts[kind], str(n)) for n in range(people)]
    with ledger.begin() as connection:
        now = datetime.now(UTC)
        enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=now)


def _start(ledger: Engine, port: int, name: str) -> subprocess.Popen[str]:
    url = ledger.url.render_as_string(hide_password=False)
    command = [sys.executable, str(DRAIN), url, str(port), name, "noreply@example.org"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _go(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate("\n", timeout=600)
    return said


def test_several_processes_send_each_notice_once(
    ledger: Engine, peer: Peer, facts: dict[NoticeKind, dict[str, Any]]
) -> None:
    """W-41, B-3."""
    peer.together = 3
    _put(ledger, NoticeKind.CLAIM, facts, 60)
    processes = [_start(ledger, peer.port, f"w:{n}") for n in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.wait(600)
        assert process.returncode == 0
        process.communicate()
    arrived = Counter(to for _, (to,), _ in peer.taken)
    assert len(arrived) == 60
    assert set(arrived.values()) == {1}
    assert {one.state for one in notices_of(ledger, RELOCATION)} == {NoticeState.SENT}
    assert len(peer.connections) == 3


def test_a_process_killed_while_it_sends_costs_one_copy_with_the_same_bytes(
    ledger: Engine, peer: Peer, facts: dict[NoticeKind, dict[str, Any]]
) -> None:
    """The server has taken the message, and nobody was left to hear it."""
    _put(ledger, NoticeKind.STARTED, facts, 5)
    victim = _start(ledger, peer.port, "w:1")
    deaths: list[int] = []

    def kill() -> None:
        if len(peer.taken) == 2 and not deaths:
            deaths.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    peer.on_data = kill
    _go(victim)
    assert victim.returncode == -signal.SIGKILL
    states = [one.state for one in notices_of(ledger, RELOCATION)]
    assert states == [*[NoticeState.SENT] * 2, NoticeState.SENDING, *[NoticeState.CLAIMED] * 2]

    # Nobody touches it, nor the rest of its group, until the lease has run out; then all are due.
    heir = _start(ledger, peer.port, "w:2")
    _go(heir)
    assert [one.state for one in notices_of(ledger, RELOCATION)].count(NoticeState.SENDING) == 1
    assert release_expired(ledger, POLICY, now=datetime.now(UTC) + timedelta(hours=1)) == 3
    with ledger.begin() as connection:
        connection.execute(notices.update().values(not_before=datetime.now(UTC)))
    _go(_start(ledger, peer.port, "w:3"))

    copies: dict[str, list[bytes]] = {}
    for _, (to,), wire in peer.taken:
        copies.setdefault(to, []).append(wire)
    assert sorted(len(wires) for wires in copies.values()) == [1, 1, 1, 1, 2]
    assert all(len(set(wires)) == 1 for wires in copies.values())
    assert {one.state for one in notices_of(ledger, RELOCATION)} == {NoticeState.SENT}
    assert _leases(ledger) == 0


def _leases(ledger: Engine) -> int:
    with ledger.begin() as connection:
        held = text("SELECT count(*) FROM notice WHERE lease_until IS NOT NULL")
        return int(connection.execute(held).scalar_one())

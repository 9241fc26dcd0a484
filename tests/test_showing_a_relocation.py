"""What `relocation show` says on a terminal of eighty columns."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from ledgers import at, sqlite_ledger
from rich.console import Console
from sqlalchemy import Engine

from relocation.cli import output, relocations
from relocation.ledger.history import history_of
from relocation.ledger.holds import hold_of, open_relocation
from relocation.ledger.migrate import migrate
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import get_relocation
from relocation.ledger.restoring import hold_back
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tries import begin_try, tries_of
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task

ID = "0123456a-4567-4567-4567-0123456789ab"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONGEST = max(Task, key=lambda task: len(task.value))
REASON = (
    "The trial import found 2 differences between the export and what would arrive in the "
    "destination, so nothing was imported."
)


@pytest.fixture
def failed(tmp_path: Path) -> Engine:
    """A ledger with one relocation that has just failed in a task; its owner is to be mailed."""
    ledger = sqlite_ledger(tmp_path / "ledger.db")
    migrate(ledger)
    request = RelocationRequest(archive="a.tar", organizations=["acme"], owner="olivia")
    hold = hold_of(open_relocation(ledger, ID, request, at(NOW)))
    begin_try(ledger, hold, LONGEST, POLICIES[LONGEST], "vm:1", now=NOW)
    settlement = Settlement(
        Status.FAILURE,
        REASON,
        failed_task=None,
        internal_error="",
        drafts=[NoticeDraft(NoticeKind.FAILED, "olivia@example.org")],
    )
    assert settle(ledger, ID, settlement, sender_domain="example.org", seen=hold, now=NOW)
    return ledger


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What a terminal of eighty columns shows."""
    screen = StringIO()
    console = Console(force_terminal=True, width=80, file=screen, highlight=False)
    for module in (output, relocations):
        monkeypatch.setattr(module, "out", console)
    return screen


def _shown(ledger: Engine, terminal: StringIO) -> list[str]:
    one = get_relocation(ledger, ID)
    history, tries = history_of(ledger, ID), tries_of(ledger, ID)
    relocations._print_history(one, history, tries, notices_of(ledger, ID))
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.getvalue().splitlines()]


def test_a_long_reason_is_wrapped_between_its_words(failed: Engine, terminal: StringIO) -> None:
    lines = _shown(failed, terminal)
    assert all(len(line) <= 80 for line in lines)
    begin = next(index for index, line in enumerate(lines) if line.startswith("Reason: "))
    assert " ".join(line.strip() for line in lines[begin : begin + 2]) == f"Reason: {REASON}"


def test_no_name_of_a_task_and_no_time_is_folded(failed: Engine, terminal: StringIO) -> None:
    (line,) = (line for line in _shown(failed, terminal) if LONGEST in line)
    assert f"{NOW:%m-%d %H:%M:%S}" in line


def test_a_mail_that_waits_is_shown_with_the_time_of_its_next_try(
    failed: Engine, terminal: StringIO
) -> None:
    (notice,) = notices_of(failed, ID)
    assert notice.not_before - NOW < timedelta(minutes=1)
    said = "\n".join(_shown(failed, terminal))
    assert "next try (UTC)" in said
    assert "sent (UTC)" not in said  # nothing was, and there is little room
    assert f"{notice.not_before:%m-%d %H:%M:%S}" in said
    assert relocations._notice_as_json(notice)["next_try"] == notice.not_before


def test_emails_that_are_held_back_after_a_restore_are_told_in_one_line(
    failed: Engine, terminal: StringIO
) -> None:
    held = "After a restore, its emails are held back until you resend them."
    assert held not in _shown(failed, terminal)
    assert relocations._as_json(get_relocation(failed, ID))["held_back"] is False
    hold_back(failed)
    assert held in _shown(failed, terminal)
    assert relocations._as_json(get_relocation(failed, ID))["held_back"] is True

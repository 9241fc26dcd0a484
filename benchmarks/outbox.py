"""The speed of the outbox: in groups, one by one, and beside what people would use instead.

`python -m benchmarks.outbox [MAILS]`. A figure is a rate, and counts only against another one of
the same run. "Built" means that the bytes are in the ledger, as they are after a first try.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import Engine, create_engine, delete, func, select, text, update

from benchmarks.notices import CLAIM, NOW, RELOCATION, SENDER, ledgers, sink
from benchmarks.post_office import seconds_of_post_office, versions
from relocation.database import engine_options, prepare
from relocation.delivery.deliver import deliver_due
from relocation.delivery.post import GROUP, Post
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.dispatch import Terms
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import enqueue
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.building import Branding, build_notice
from relocation.notices.kinds import Draft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates
from relocation.notices.wire import wire_bytes
from relocation.request import RelocationRequest
from relocation.settings import Settings

MAILS = 10_000
PROCESSES = 4
ONE_BY_ONE = 20
"""How many times fewer mails are sent one by one, which takes that much longer."""


@dataclass(frozen=True)
class Row:
    """A rate, the one it is held against, and the least ratio of the two."""

    what: str
    rate: float
    against: str
    other: float
    least: float

    def __str__(self) -> str:
        """Return the row of a table."""
        ratio = self.rate / self.other
        verdict = "reached" if ratio >= self.least else "missed"
        return (
            f"| {self.what} | {self.rate:.0f}/s | {self.against} | {self.other:.0f}/s "
            f"| {ratio:.2f} | {self.least} | {verdict} |"
        )


def main(mails: int = MAILS) -> None:
    """Measure everything, and print a table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        for name, ledger in ledgers(Path(folder)):
            request = RelocationRequest(archive="a.tar", organizations=["acme"], owner="olivia")
            open_relocation(ledger, RELOCATION, request, NOW)
            rows += _sqlite(ledger, mails) if name == "SQLite" else _postgresql(ledger, mails)
    print(f"\n### The outbox, {mails:,} CLAIM notices; {versions()}\n")
    print("| what | rate | against | rate | ratio | at least | |\n|---|--:|---|--:|--:|--:|---|")
    print(*rows, sep="\n")


def _sqlite(ledger: Engine, mails: int) -> Iterator[Row]:
    with sink() as port:
        few = max(2, mails // ONE_BY_ONE)
        alone = _rate(few, _filled(ledger, few, built=True), lambda: _drain(ledger, port, 1))
        ours = _rate(mails, _filled(ledger, mails, built=True), lambda: _drain(ledger, port))
    yield Row("SQLite, built, one process", ours, "a batch of one", alone, 4)


def _postgresql(ledger: Engine, mails: int) -> Iterator[Row]:
    with sink() as port:
        few = max(2, mails // ONE_BY_ONE)
        alone = _rate(few, _filled(ledger, few, built=True), lambda: _drain(ledger, port, 1))
        theirs = mails / seconds_of_post_office(ledger, port, mails, _message("1@example.org"))
        ours = _rate(mails, _filled(ledger, mails, built=True), lambda: _drain(ledger, port))
        yield Row("PostgreSQL, built, one process", ours, "django-post-office", theirs, 1)
        yield Row("the same", ours, "a batch of one", alone, 5)
        some = max(2, mails // 5)
        direct = _rate(some, None, lambda: _send_without_outbox(port, some))
        building = _rate(some, _filled(ledger, some, built=False), lambda: _drain(ledger, port))
        yield Row("the same, building counted", building, "no outbox at all", direct, 0.8)
    with sink(once=True) as port:
        _filled(ledger, mails, built=True)()
        many = mails / _drained_by_processes(ledger, port, PROCESSES)
    with sink() as port:
        one = _rate(mails, _filled(ledger, mails, built=True), lambda: _drain(ledger, port))
    yield Row(f"PostgreSQL, built, {PROCESSES} processes", many, "one process", one, 1.3)


def _rate(mails: int, prepare_: Callable[[], None] | None, work: Callable[[], object]) -> float:
    if prepare_:
        prepare_()
    begin = time.perf_counter()
    work()
    return mails / (time.perf_counter() - begin)


def _filled(ledger: Engine, mails: int, *, built: bool) -> Callable[[], None]:
    def fill() -> None:
        drafts = [Draft(NoticeKind.CLAIM, f"{n}@example.org", CLAIM, str(n)) for n in range(mails)]
        with ledger.begin() as connection:
            connection.execute(delete(notices))
            enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)
            if built:
                connection.execute(update(notices).values(wire=_message("1@example.org")))
        if ledger.dialect.name == "postgresql":
            with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE notice"))
                connection.execute(text("CHECKPOINT"))

    return fill


def _message(recipient: str) -> bytes:
    message = build_notice(
        NoticeKind.CLAIM,
        recipient=recipient,
        context={**CLAIM, "relocation_id": RELOCATION},
        message_id="<abc@relocation.example.org>",
        date=NOW,
        branding=Branding.of(Settings(sender_email=SENDER)),
        templates=load_templates(),
    )
    return wire_bytes(message)


def _mailer(port: int) -> Mailer:
    return Mailer(MailServerSettings("127.0.0.1", port, "none", None, None, SENDER))


def _drain(ledger: Engine, port: int, group: int = GROUP) -> int:
    with _mailer(port) as mailer:
        post = Post(
            ledger,
            mailer,
            load_templates(),
            Branding.of(Settings(sender_email=SENDER)),
            Terms(Operator("operator@example.org"), "example.org", resend_unknown=True),
            group=group,
        )
        deliver_due(post, claimed_by=f"bench:{os.getpid()}", now=lambda: datetime.now(UTC))
    with ledger.begin() as connection:
        unsent = select(func.count()).where(notices.c.state == NoticeState.QUEUED)
        assert connection.execute(unsent).scalar_one() == 0
    return 0


def _send_without_outbox(port: int, mails: int) -> None:
    with _mailer(port) as mailer:
        for number in range(mails):
            to = f"{number}@example.org"
            assert mailer.send(to, _message(to)).state == "sent"


def _drained_by_processes(ledger: Engine, port: int, processes: int) -> float:
    """Return the seconds that several processes need for the outbox of one."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    url = ledger.url.render_as_string(hide_password=False)
    working = [
        context.Process(target=_drain_in_process, args=(url, port, barrier))
        for _ in range(processes)
    ]
    for process in working:
        process.start()
    barrier.wait()
    begin = time.perf_counter()
    for process in working:
        process.join()
    seconds = time.perf_counter() - begin
    assert [process.exitcode for process in working] == [0] * processes
    with ledger.begin() as connection:
        ended = connection.execute(select(notices.c.state, notices.c.tries))
        states = {(row.state, row.tries) for row in ended}
    assert states == {(NoticeState.SENT, 1)}, states
    return seconds


def _drain_in_process(url: str, port: int, barrier: Barrier) -> None:
    ledger = prepare(create_engine(url, **engine_options("postgresql")))
    load_templates()[NoticeKind.CLAIM]
    barrier.wait()
    _drain(ledger, port)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else MAILS)

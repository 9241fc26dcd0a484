"""The speed of the outbox: in groups, one by one, and beside what people would use instead.

`python -m benchmarks.outbox [MAILS [ROUNDS]]`. A figure is a rate, and counts only against another
one of the same run. "Built" means that the bytes are in the ledger, as they are after a first try.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from sqlalchemy import Engine, create_engine, delete, func, select, text, update

from benchmarks.notices import CLAIM, NOW, RELOCATION, SENDER, ledgers, sink
from benchmarks.post_office import seconds_of_post_office, versions
from relocation.database import engine_options, prepare
from relocation.delivery.context import GROUP, DeliveryContext
from relocation.delivery.deliver import deliver_due
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import enqueue
from relocation.ledger.tables import NoticeState, notices
from relocation.notices.building import Branding, build_notice
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates
from relocation.notices.wire import wire_bytes
from relocation.request import RelocationRequest
from relocation.settings import Settings

MAILS = 10_000
PROCESSES = 4
ROUNDS = 5
ONE_BY_ONE = 20
"""How many times fewer mails are sent one by one, which takes that much longer."""


@dataclass(frozen=True)
class Row:
    """Rates, those they are held against, and the least ratio; of the rounds, the medians count."""

    what: str
    rates: Sequence[float]
    against: str
    others: Sequence[float]
    least: float

    def __str__(self) -> str:
        """Return the row of a table."""
        ratio = median(a / b for a, b in zip(self.rates, self.others, strict=True))
        ours, theirs = median(self.rates), median(self.others)
        verdict = "reached" if ratio >= self.least else "missed"
        return (
            f"| {self.what} | {ours:.0f}/s | {self.against} | {theirs:.0f}/s "
            f"| {ratio:.2f} | {self.least} | {verdict} |"
        )


def main(mails: int = MAILS, rounds: int = ROUNDS) -> None:
    """Measure everything in turns, and print a table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="relocation-bench-") as folder:
        for name, ledger in ledgers(Path(folder)):
            request = RelocationRequest(archive="a.tar", organizations=["acme"], owner="olivia")
            open_relocation(ledger, RELOCATION, request, lambda _: NOW)
            compare = _sqlite if name == "SQLite" else _postgresql
            rows += compare(ledger, mails // rounds, rounds)
    print(f"\n### The outbox, {mails:,} CLAIM notices in {rounds} rounds; {versions()}\n")
    print("| what | rate | against | rate | ratio | at least | |\n|---|--:|---|--:|--:|--:|---|")
    print(*rows, sep="\n")


def _sqlite(ledger: Engine, mails: int, rounds: int) -> Iterator[Row]:
    with sink() as port:
        ours, alone = _in_turns(
            [lambda: _built(ledger, port, mails), lambda: _alone(ledger, port, mails)], rounds
        )
    yield Row("SQLite, built, one process", ours, "a batch of one", alone, 4)


def _postgresql(ledger: Engine, mails: int, rounds: int) -> Iterator[Row]:
    with sink() as port:
        ours, theirs, alone, building, direct = _in_turns(
            [
                lambda: _built(ledger, port, mails),
                lambda: mails / seconds_of_post_office(ledger, port, mails, _message(SENDER)),
                lambda: _alone(ledger, port, mails),
                lambda: _building(ledger, port, max(2, mails // 5)),
                lambda: _without_outbox(port, max(2, mails // 5)),
            ],
            rounds,
        )
    yield Row("PostgreSQL, built, one process", ours, "django-post-office", theirs, 1)
    yield Row("the same", ours, "a batch of one", alone, 5)
    yield Row("the same, building counted", building, "no outbox at all", direct, 0.8)
    many, one = _in_turns(
        [lambda: _by_processes(ledger, mails), lambda: _by_processes(ledger, mails, 1)], rounds
    )
    yield Row(f"PostgreSQL, built, {PROCESSES} processes", many, "one process", one, 1.3)


def _in_turns(rates: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Return the rates of each, in rounds: a slow minute of the machine slows all of them."""
    return [
        list(rate) for rate in zip(*([one() for one in rates] for _ in range(rounds)), strict=True)
    ]


def _built(ledger: Engine, port: int, mails: int) -> float:
    _fill(ledger, mails, built=True)
    return _rate(mails, lambda: _drain_all(ledger, port))


def _alone(ledger: Engine, port: int, mails: int) -> float:
    few = max(2, mails // ONE_BY_ONE)
    _fill(ledger, few, built=True)
    return _rate(few, lambda: _drain_all(ledger, port, 1))


def _building(ledger: Engine, port: int, mails: int) -> float:
    _fill(ledger, mails, built=False)
    return _rate(mails, lambda: _drain_all(ledger, port))


def _without_outbox(port: int, mails: int) -> float:
    def send() -> None:
        with _mailer(port) as mailer:
            for number in range(mails):
                to = f"{number}@example.org"
                assert mailer.send(to, _message(to)).state == "sent"

    return _rate(mails, send)


def _rate(mails: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return mails / (time.perf_counter() - begin)


def _fill(ledger: Engine, mails: int, *, built: bool) -> None:
    drafts = [
        NoticeDraft(NoticeKind.CLAIM, f"{n}@example.org", dict(CLAIM), str(n)) for n in range(mails)
    ]
    with ledger.begin() as connection:
        connection.execute(delete(notices))
        enqueue(connection, RELOCATION, 1, drafts, sender_domain="example.org", now=NOW)
        if built:
            connection.execute(update(notices).values(wire=_message("1@example.org")))
    if ledger.dialect.name == "postgresql":
        with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE notice"))
            connection.execute(text("CHECKPOINT"))


@cache
def _branding() -> Branding:
    return Branding.of(Settings(sender_email=SENDER))


def _message(recipient: str) -> bytes:
    message = build_notice(
        NoticeKind.CLAIM,
        recipient=recipient,
        context={**CLAIM, "relocation_id": RELOCATION},
        message_id="<abc@relocation.example.org>",
        date=NOW,
        branding=_branding(),
        templates=load_templates(),
    )
    return wire_bytes(message)


def _mailer(port: int) -> Mailer:
    return Mailer(MailServerSettings("127.0.0.1", port, "none", None, None, SENDER))


def _drain(ledger: Engine, port: int, group: int = GROUP) -> None:
    with _mailer(port) as mailer:
        post = DeliveryContext(
            ledger,
            mailer,
            load_templates(),
            _branding(),
            DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True),
            group=group,
        )
        deliver_due(post, worker=f"bench:{os.getpid()}", now=lambda: datetime.now(UTC))


def _drain_all(ledger: Engine, port: int, group: int = GROUP) -> None:
    _drain(ledger, port, group)
    with ledger.begin() as connection:
        unsent = select(func.count()).where(notices.c.state != NoticeState.SENT)
        assert connection.execute(unsent).scalar_one() == 0


def _by_processes(ledger: Engine, mails: int, processes: int = PROCESSES) -> float:
    _fill(ledger, mails, built=True)
    with sink(once=True) as port:
        return mails / _seconds_of_processes(ledger, port, processes)


def _seconds_of_processes(ledger: Engine, port: int, processes: int) -> float:
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
    main(*map(int, sys.argv[1:]))

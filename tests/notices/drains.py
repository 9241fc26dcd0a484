"""Work through an outbox, each time in a process of its own that may die: one JSON line an order.

An order says where the ledger and the mail server are, and at which commit to die: "before 3" or
"after 3". The answer is how the process ended, as `os.wait` tells it.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.engine.default import DefaultDialect

from relocation.database import engine_options, prepare
from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import deliver_due
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeKind
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates
from relocation.settings import Settings

SENDER = "noreply@relocation.example.org"


def _die_at(engine: Engine, point: str | None) -> None:
    commits = 0
    do_commit = cast(
        "Callable[[DefaultDialect, PoolProxiedConnection], None]", DefaultDialect.do_commit
    )

    def reach(when: str) -> None:
        if f"{when} {commits}" == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(_connection: object) -> None:
        nonlocal commits
        commits += 1
        reach("before")

    def commit_then_die(dialect: DefaultDialect, connection: PoolProxiedConnection) -> None:
        do_commit(dialect, connection)
        reach("after")

    event.listen(engine, "commit", before)
    DefaultDialect.do_commit = commit_then_die  # type: ignore[method-assign]


def _drain(order: dict[str, Any]) -> None:
    options = engine_options(make_url(order["ledger"]).get_backend_name())
    engine = prepare(create_engine(order["ledger"], **options))
    _die_at(engine, order.get("die_at"))
    server = MailServerSettings("127.0.0.1", order["port"], "none", None, None, SENDER, timeout=5.0)
    with Mailer(server) as mailer:
        delivery = DeliveryContext(
            engine,
            mailer,
            load_templates(),
            Branding.of(Settings(sender_email=SENDER)),
            DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True),
        )
        now = datetime.fromisoformat(order["now"]).astimezone(UTC)
        deliver_due(delivery, worker="w:1", now=lambda: now)


if __name__ == "__main__":
    load_templates()[NoticeKind.CLAIM]  # once, for all of them
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _drain(json.loads(line))
                code = 0
            except BaseException:  # noqa: BLE001 - told, and the process ends here
                traceback.print_exc()
            finally:
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(ended, flush=True)  # noqa: T201 - the answer

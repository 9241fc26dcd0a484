"""After the ledger came from a backup: nobody is mailed twice unless a person asks for it."""

from dataclasses import dataclass

from sqlalchemy import Engine, case, literal, select, update

from relocation.ledger.outbox import HELD_BACK
from relocation.ledger.tables import OPEN, NoticeState, is_in, is_open, notices, relocations
from relocation.ledger.tries import forget_work
from relocation.notices.kinds import NoticeKind
from relocation.steps import Status

_AHEAD = 1000
"""More processes than can have taken a relocation over since a backup."""


@dataclass(frozen=True)
class HeldBack:
    """How many mails wait for a person now, and the relocations that go on."""

    notices: int
    open_relocations: list[str]


def hold_back(engine: Engine) -> HeldBack:
    """Hold back each mail that may have gone out since the backup was made.

    Those that wait, and those that a relocation queues which had not ended for good by then: only a
    person sends them, and reminders of links too. What operators are told is never held back. The
    fences of these relocations are put beyond those that the destination has seen, so that they can
    go on; what they wrote into the storage may be gone, and is made again from the archive. May be
    done again: a process that works on one of them by then is fenced out, and another goes on.
    """
    secret = notices.c.kind == NoticeKind.CLAIM
    held = {
        "state": NoticeState.UNKNOWN,
        "reply": HELD_BACK,
        "claimed_by": None,
        "lease_until": None,
        "context": case((secret, literal({}, notices.c.context.type)), else_=notices.c.context),
        "wire": case((secret, None), else_=notices.c.wire),
    }
    waiting = update(notices).where(
        is_in(notices.c.state, OPEN), notices.c.kind != NoticeKind.OPERATOR
    )
    not_ended = relocations.c.status.not_in((Status.SUCCESS, Status.CANCELLED))
    going_on = update(relocations).where(not_ended)
    reminded = update(notices).where(secret, notices.c.valid_until.is_not(None))
    with engine.begin() as connection:
        number = connection.execute(waiting.values(held)).rowcount
        connection.execute(reminded.values(valid_until=None))
        beyond = {"held_back": True, "fence": relocations.c.fence + _AHEAD, "lease_until": None}
        connection.execute(going_on.values(beyond))
        for id_ in connection.execute(select(relocations.c.id).where(not_ended)).scalars().all():
            forget_work(connection, id_)
        wanted = select(relocations.c.id).where(is_open).order_by(relocations.c.created_at)
        return HeldBack(number, list(connection.execute(wanted).scalars()))

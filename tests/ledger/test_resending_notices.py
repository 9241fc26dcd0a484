"""What was given up can be sent again, once its cause is mended."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from relocation.database import database_time
from relocation.errors import UnknownRelocationError
from relocation.ledger.dispatch import MOST_REFUSALS, DeliveryPolicy, finish, lease_due
from relocation.ledger.holds import open_relocation
from relocation.ledger.outbox import Notice, Requeued, enqueue, notices_of, requeue
from relocation.ledger.tables import NoticeState
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.request import RelocationRequest

POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=False)
LATER = timedelta(days=3)


@pytest.fixture
def started(ledger: Engine, now: datetime) -> None:
    """A relocation with a notice to its owner and one to a user."""
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    open_relocation(ledger, "r-1", request, database_time)
    drafts = [
        NoticeDraft(NoticeKind.STARTED, "olivia@example.org"),
        NoticeDraft(NoticeKind.CLAIM, "ann@example.org", {"token": "t"}),
    ]
    with ledger.begin() as connection:
        enqueue(connection, "r-1", 1, drafts, sender_domain="example.org", now=now)


def claim(ledger: Engine, now: datetime, kind: NoticeKind = NoticeKind.STARTED) -> Notice:
    """Claim what is due up to the notice of this kind."""
    while True:
        notice = lease_due(ledger, worker="a:1", lease_seconds=60, now=now)
        assert notice is not None
        if notice.kind is kind:
            return notice


def states(ledger: Engine) -> dict[str, NoticeState]:
    return {str(one.kind): one.state for one in notices_of(ledger, "r-1")}


@pytest.mark.usefixtures("started")
def test_a_notice_that_was_given_up_goes_out_again_under_its_message_id(
    ledger: Engine, now: datetime
) -> None:
    first = claim(ledger, now)
    finish(ledger, first, "failed", "550 no such person", POLICY, now=now)
    with ledger.begin() as connection:
        connection.execute(text("UPDATE notice SET refusals = :n"), {"n": MOST_REFUSALS})
    assert requeue(ledger, "r-1", now=now + LATER) == Requeued(queued=1, without_link=0)
    again = claim(ledger, now + LATER)
    assert (again.id, again.message_id) == (first.id, first.message_id)
    # It has the patience of a new notice, however often it was refused before.
    assert (again.refusals, again.created_at) == (0, now + LATER)
    assert finish(ledger, again, "retry", "451", POLICY, now=now + LATER) is NoticeState.QUEUED


@pytest.mark.usefixtures("started")
def test_a_notice_in_doubt_goes_out_again(ledger: Engine, now: datetime) -> None:
    finish(ledger, claim(ledger, now), "unknown", "dropped", POLICY, now=now)
    assert states(ledger)["STARTED"] is NoticeState.UNKNOWN
    assert requeue(ledger, "r-1", now=now).queued == 1
    assert states(ledger)["STARTED"] is NoticeState.QUEUED


@pytest.mark.usefixtures("started")
def test_a_claim_without_its_link_and_what_has_arrived_stay_as_they_are(
    ledger: Engine, now: datetime
) -> None:
    finish(ledger, claim(ledger, now), "sent", "250", POLICY, now=now)
    given_up = claim(ledger, now, NoticeKind.CLAIM)
    finish(ledger, given_up, "failed", "550", POLICY, now=now)
    assert requeue(ledger, "r-1", now=now) == Requeued(queued=0, without_link=1)
    before = {"STARTED": NoticeState.SENT, "CLAIM": NoticeState.FAILED}
    assert before.items() <= states(ledger).items()


def test_a_relocation_that_is_not_there_is_said_so(ledger: Engine, now: datetime) -> None:
    with pytest.raises(UnknownRelocationError):
        requeue(ledger, "nobody", now=now)

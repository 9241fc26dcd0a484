"""Many failed relocations go on, a few at a time, once their cause is mended."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from recovery_world import World
from task_results import COMPLETED

from relocation.errors import CommandError
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import begin_try, end_try, succeed
from relocation.model import Relocation
from relocation.recovery.reconcile import reconcile
from relocation.recovery.rerunning import Rerun, failed_since, failed_with_same_cause, recover_all
from relocation.recovery.runs import RunState
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task

IMPORT = Task.IMPORT_ORGANIZATIONS
Server = Callable[[Callable[[str], None], list[int]], Callable[[float], None]]


def fail(world: World, id_: str, error: Exception, owner: str = "", task: Task = IMPORT) -> None:
    """Let a relocation fail in a task, whatever round it is in."""
    request = RelocationRequest(archive="a", organizations=["acme"], owner=owner or f"owner-{id_}")
    hold, ledger = world.open(id_, request), world.context.ledger
    for _ in range(POLICIES[task].tries):
        number = begin_try(ledger, hold, task, POLICIES[task], "host:1", now=world.now)
        outcome = TryOutcome.FAILED
        end_try(ledger, hold, task, number, outcome, error="...", cause=error, now=world.now)
    world.runs.put(id_, RunState.FAILED)
    reconcile(world.context, id_, world.runs.runs[id_], error=error, own=hold)
    assert get_relocation(ledger, id_).status is Status.FAILURE


def finish(world: World, id_: str) -> None:
    """Let a relocation go on and succeed."""
    ledger = world.context.ledger
    hold = world.open(id_, get_relocation(ledger, id_).request)
    number = begin_try(
        ledger, hold, Task.COMPLETE, POLICIES[Task.COMPLETE], "host:1", now=world.now
    )
    succeed(ledger, hold, number, COMPLETED, sender_domain="example.org", now=world.now)


@pytest.fixture
def server(world: World) -> Server:
    """What lets the relocations that were asked to go on do so, while somebody waits."""

    def make(end: Callable[[str], None], most: list[int]) -> Callable[[float], None]:
        def work(_seconds: float) -> None:
            asked = [id_ for id_, run in world.runs.runs.items() if run.state == "SCHEDULED"]
            most.append(len(asked))
            end(asked[0])

        return work

    return make


def ids(failed: list[Relocation]) -> list[str]:
    return [one.id for one in failed]


def test_what_failed_in_the_same_task_with_the_same_error_has_one_cause(world: World) -> None:
    for id_, error, task in [
        ("r-1", OSError("disk"), IMPORT),
        ("r-2", OSError("another disk"), IMPORT),
        ("r-3", ValueError("x"), IMPORT),
        ("r-4", OSError("disk"), Task.SCAN_EXPORT),
    ]:
        fail(world, id_, error, task=task)
        world.wait(60)
    assert ids(failed_with_same_cause(world.context, "r-2")) == ["r-1", "r-2"]
    assert world.stored("r-1").cause == "import_organizations:OSError"


def test_what_failed_since_a_time_is_found_whatever_the_cause(world: World) -> None:
    fail(world, "r-1", OSError("disk"))
    world.wait(60)
    since = world.now
    fail(world, "r-2", ValueError("x"))
    assert ids(failed_since(world.context, since)) == ["r-2"]
    assert ids(failed_since(world.context, since - timedelta(hours=1))) == ["r-1", "r-2"]


def test_a_relocation_that_goes_on_is_among_none_of_them(world: World) -> None:
    fail(world, "r-1", OSError("disk"))
    fail(world, "r-2", OSError("disk"))
    finish(world, "r-2")
    assert ids(failed_with_same_cause(world.context, "r-1")) == ["r-1"]
    with pytest.raises(CommandError, match="has not failed; it is SUCCESS"):
        failed_with_same_cause(world.context, "r-2")


def test_all_go_on_and_never_more_than_a_few_at_a_time(world: World, server: Server) -> None:
    for number in range(7):
        fail(world, f"r-{number}", OSError("disk"))
    most: list[int] = []
    work = server(lambda id_: finish(world, id_), most)
    done = recover_all(
        world.context, failed_with_same_cause(world.context, "r-0"), at_once=2, sleep=work
    )
    assert done == Rerun({f"r-{number}": Status.SUCCESS for number in range(7)})
    assert max(most) == 2


def test_where_the_first_ones_fail_again_the_others_are_left(world: World, server: Server) -> None:
    for number in range(6):
        fail(world, f"r-{number}", OSError("disk"))
    work = server(lambda id_: fail(world, id_, OSError("disk")), [])
    done = recover_all(
        world.context, failed_with_same_cause(world.context, "r-0"), at_once=2, sleep=work
    )
    assert done.ended == {"r-0": Status.FAILURE, "r-1": Status.FAILURE}
    assert done.left == ["r-2", "r-3", "r-4", "r-5"]
    assert sorted(world.runs.rescheduled) == ["r-0", "r-1"]


def test_of_one_owner_one_goes_on_at_a_time(world: World, server: Server) -> None:
    """A second one would be refused, and mailed as another failure."""
    for number in range(3):
        fail(world, f"r-{number}", OSError("disk"), owner="olivia")
    most: list[int] = []
    work = server(lambda id_: finish(world, id_), most)
    done = recover_all(
        world.context, failed_with_same_cause(world.context, "r-0"), at_once=3, sleep=work
    )
    assert set(done.ended.values()) == {Status.SUCCESS}
    assert most == [1, 1, 1]


def test_one_whose_owner_is_busy_and_one_that_no_server_knows_are_refused_in_words(
    world: World,
) -> None:
    fail(world, "r-1", OSError("disk"), owner="olivia")
    fail(world, "r-2", OSError("disk"))
    world.runs.delete("r-2")
    world.open("r-3", RelocationRequest(archive="a", organizations=["b"], owner="olivia"))
    failed = failed_since(world.context, world.now)
    done = recover_all(world.context, failed, at_once=3, sleep=lambda _: pytest.fail("it waits"))
    assert done.ended == {}
    assert "another relocation" in done.refused["r-1"]
    assert "has no run of this relocation" in done.refused["r-2"]

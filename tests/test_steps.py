"""The one table of tasks."""

from relocation.steps import POLICIES, Step, Task, backoff


def test_the_table_has_every_task_in_the_order_of_the_steps() -> None:
    assert list(POLICIES) == list(Task)
    steps = [policy.step for policy in POLICIES.values()]
    assert steps == sorted(steps)
    assert set(steps) == set(Step)


def test_every_task_gives_up_with_a_sentence() -> None:
    for policy in POLICIES.values():
        assert policy.reason.endswith(".")
        assert policy.tries >= 3


def test_validation_has_three_runs() -> None:
    """A-112: the fourth is refused like the try too many of any other task (A-97)."""
    assert POLICIES[Task.VALIDATE].tries == 3


def test_waits_double_and_there_is_one_fewer_than_tries() -> None:
    assert backoff(60, 4, 3600) == [60, 120, 240]
    assert backoff(60, 1, 3600) == []


def test_no_wait_is_longer_than_the_longest() -> None:
    assert backoff(60, 9, 3600) == [60, 120, 240, 480, 960, 1920, 3600, 3600]

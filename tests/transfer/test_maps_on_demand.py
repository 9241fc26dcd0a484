from collections.abc import Mapping

import pytest

from relocation.transfer.load.references import MapsOnDemand

made: list[str] = []


@pytest.fixture
def maps() -> MapsOnDemand:
    """Maps of three models, none of which is made yet."""
    made.clear()
    return MapsOnDemand(["sentry.project", "sentry.option", "sentry.projectoption"], make)


def make(model: str) -> Mapping[int, int]:
    made.append(model)
    return {1: len(made)}


def test_the_map_of_a_model_that_others_refer_to_is_made_once(maps: MapsOnDemand) -> None:
    for model in ("sentry.project", "sentry.option", "sentry.project"):
        assert maps[model]
    assert made == ["sentry.project", "sentry.option"]


def test_the_map_of_another_model_is_kept_until_the_next_one_is_made(maps: MapsOnDemand) -> None:
    for model in ("sentry.option", "sentry.option", "sentry.projectoption", "sentry.option"):
        assert maps[model]
    assert made == ["sentry.option", "sentry.projectoption", "sentry.option"]


def test_no_map_is_made_of_a_model_it_was_not_told_of(maps: MapsOnDemand) -> None:
    assert maps.get("sentry.user") is None
    assert "sentry.option" in maps
    assert {"sentry.option", "sentry.user"} & maps.keys() == {"sentry.option"}
    assert list(maps) == ["sentry.project", "sentry.option", "sentry.projectoption"]
    assert made == []

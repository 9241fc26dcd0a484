"""Two real products: one that people have worked in, and one that its organization moves into."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import real_sentry
from peers import peer
from real_world import OWNER, PASSWORD, SOURCE, TARGET, Moved, World, relocate


@pytest.fixture(scope="session")
def servers() -> Iterator[real_sentry.RealServers]:
    """The servers of a real product, or a skipped test where it is not set up."""
    if not os.environ.get("REAL_SENTRY"):
        pytest.skip("make real-sentry runs this: a real product has to be set up first")
    if lacking := real_sentry.missing_tools():
        pytest.skip(f"there is no {lacking}")
    if not real_sentry.is_set_up():
        pytest.skip("the packages of the product cannot be had")
    with real_sentry.running() as servers:
        yield servers


@pytest.fixture(scope="session")
def world(
    servers: real_sentry.RealServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A source in which people have worked, and a target into which their organization moved."""
    folder = tmp_path_factory.mktemp("real")
    for name in (SOURCE, TARGET):
        servers.copy("sentry", name)
    with contextlib.ExitStack() as stack:
        there = World(servers, stack.enter_context(peer(servers, SOURCE, folder / "log")), folder)
        statuses = there.ask(SOURCE, "fill")
        assert all(status in {200, 201} for status, _ in statuses), statuses
        there.ask(SOURCE, "drain")
        export = folder / "export.json"
        servers.sentry("export", export, database=SOURCE)
        there.ask(TARGET, "person", username=OWNER, password=PASSWORD)
        there.ask(TARGET, "drain")
        there.moved = relocate(there, export)
        there.ask(TARGET, "drain")
        there.untouched = there.copy()
        yield there


@pytest.fixture
def moved(world: World) -> Moved:
    """What the relocation did."""
    assert world.moved is not None
    return world.moved

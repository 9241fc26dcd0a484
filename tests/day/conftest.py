"""`relocation up` on this machine, from nothing."""

from collections.abc import Iterator

import pytest
from up_command import Up


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The service as one command has made it, with an example to relocate."""
    one = Up(tmp_path_factory.mktemp("day") / "home")
    one.start()
    yield one
    if one.process is not None:
        one.stop()

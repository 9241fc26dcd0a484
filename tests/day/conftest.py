"""`relocation up` on this machine, from nothing."""

from collections.abc import Iterator

import pytest
from up_command import Up


@pytest.fixture(scope="module")  # what runs idly after it would slow down all the rest
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The service as one command has made it, with an example to relocate."""
    one = Up(tmp_path_factory.mktemp("day") / "home")
    one.start()
    yield one
    if one.process is not None:
        one.stop()

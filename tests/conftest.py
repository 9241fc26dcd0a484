"""Keep every test away from the machine's own Prefect, and servers in one process each."""

import os
import tempfile
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Prefect reads its settings when it is imported: this must come first.
_HOME = tempfile.mkdtemp(prefix="relocation-tests-")
for name in [name for name in os.environ if name.startswith(("PREFECT_", "RELOCATION_"))]:
    del os.environ[name]
os.environ.update(
    PREFECT_HOME=f"{_HOME}/prefect",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    RELOCATION_HOME=f"{_HOME}/relocation",
)


class ByServer(LoadScopeScheduling):  # type: ignore[misc]
    """Spread test files over processes, but leave those that share a server in one."""

    # Not `--dist loadgroup`: pytest 9.2 no longer shows its groups to xdist 3.8.
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in {"tests/flows", "tests/server"} else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    return ByServer(config, log)

"""Keep every test away from the machine's own Prefect and settings."""

import os
import tempfile

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

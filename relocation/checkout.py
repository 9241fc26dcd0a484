"""Where the code lies on this machine, which need not be where it lies on another."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
"""Where prefect.yaml and automations.yaml lie: the checkout, or beside the installed packages."""


def enter() -> dict[str, str]:
    """Make it the working folder; the pull step of every deployment.

    Without one of ours, Prefect would let every worker enter the folder of whoever deployed.
    """
    os.chdir(PROJECT)
    return {"directory": str(PROJECT)}

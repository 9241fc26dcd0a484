"""Play the demo and report on it."""

from pathlib import Path

from relocation.demo.console import Console
from relocation.demo.stage import set_stage


def run_demo(home: Path) -> bool:
    """Set the stage in `home`, play the story, report; returns whether all ended as it should."""
    console = Console()
    with set_stage(home, console) as stage:
        # Imported only now: they import Prefect, which must find the stage's server.
        from relocation.demo.report import report  # noqa: PLC0415
        from relocation.demo.story import Story  # noqa: PLC0415

        endings = Story(stage, console).play()
        report(stage, console, endings)
    return all(ending.good for ending in endings)

"""What people call the records of a model: what a notice says in place of the model's name."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def label(model: str) -> str:
    """Return what a model's records are called, in the plural: "issue alert rules"."""
    return _labels().get(model, "records of an unknown kind")


@cache
def _labels() -> Mapping[str, str]:
    labels: dict[str, str] = json.loads(
        (files(__package__) / "labels.json").read_text(encoding="utf-8")
    )
    return labels

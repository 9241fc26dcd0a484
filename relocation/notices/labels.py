"""What people call the records of a model: what a notice says in place of the model's name."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def words_for(model: str) -> str:
    """Return the words, in the plural: "issue alert rules"; for unknown models, that they are."""
    return _words().get(model, "records of a kind that is not known here")


@cache
def _words() -> Mapping[str, str]:
    words: dict[str, str] = json.loads(
        (files(__package__) / "words.json").read_text(encoding="utf-8")
    )
    return words

"""From which version on the catalogue's models and fields are there."""

from real_tables import real_columns

from relocation.catalogue import load_catalogue
from relocation.catalogue.versions import first_version


def test_what_the_oldest_version_lacks_is_said_to_have_entered_later_and_nothing_else_is() -> None:
    """By the facts of 23.7.1."""
    for model in load_catalogue().values():
        told = real_columns().get(model.table)
        assert bool(first_version(model.name)) is (told is None), model.name
        for field in model.fields:
            later = told is None or field not in told
            assert bool(first_version(model.name, field)) is later, f"{model.name}.{field}"

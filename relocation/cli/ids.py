"""Ids of relocations, as a person types them: the beginning of one will do."""

from typing import TYPE_CHECKING, Annotated

import typer

from relocation.errors import CommandError
from relocation.text import listed

if TYPE_CHECKING:
    from sqlalchemy import Engine

_WHOLE = 36
_SHORTEST = 4
_SHOWN = 3

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The relocation's id, or enough of its beginning.")
]


def full_id(ledger: "Engine", begin: str) -> str:
    """Return the id of the only relocation that begins so, or waits to; what is whole stays.

    Raises UnknownRelocationError where there is none, CommandError where there are several.
    """
    from relocation.ledger.relocations import ids_beginning, unknown_relocation  # noqa: PLC0415

    if len(begin) >= _WHOLE:
        return begin.lower()
    found = ids_beginning(ledger, begin) if len(begin) >= _SHORTEST else []
    if begin in found:
        return begin
    if not found and len(begin) >= _SHORTEST:
        from relocation.prefect_api.awaited import awaited_runs  # noqa: PLC0415 - imports Prefect: seconds

        found = [one.id for one in awaited_runs() if one.id.startswith(begin.lower())]
    if len(found) > 1:
        raise CommandError(f"Several relocations begin like this: {listed(found, show=_SHOWN)}.")
    if not found:
        raise unknown_relocation(begin)
    return found[0]

"""What this process holds or held, and what it has opened for that: each block is loaded once."""

from functools import cached_property

from sqlalchemy import Engine

from relocation.archive.storage import Storage
from relocation.ledger.holds import Hold
from relocation.prefect_api.blocks import (
    load_destination,
    load_ledger,
    load_private_key,
    load_source,
    load_storage,
)
from relocation.settings import Settings
from relocation.transfer.database.schema import read_once


class Resources:
    """The blocks as they were when first asked for; a change in the UI holds from the next run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def ledger(self) -> Engine:
        """The ledger."""
        return load_ledger(self.settings)

    @cached_property
    def destination(self) -> Engine:
        """The database relocated into."""
        return read_once(load_destination(self.settings))

    @cached_property
    def source(self) -> Engine:
        """The live database exported from."""
        return read_once(load_source(self.settings))

    @cached_property
    def storage(self) -> Storage:
        """The relocation storage."""
        return load_storage(self.settings)

    @cached_property
    def private_key(self) -> str:
        """The relocation key, PEM."""
        return load_private_key(self.settings)


_held: dict[str, tuple[Hold, Resources]] = {}
"""By relocation: its hooks end what a process began without waiting for the lease."""


def keep_hold(hold: Hold, resources: Resources) -> None:
    """Keep the hold that this process has on a relocation, and what it has opened."""
    _held[hold.relocation_id] = (hold, resources)


def forget_hold(relocation_id: str) -> None:
    """Forget the hold that this process had on a relocation; a no-op where it had none."""
    _held.pop(relocation_id, None)


def own_hold(relocation_id: str) -> Hold | None:
    """Return the hold that this process has or had on a relocation."""
    hold, _opened = _held.get(relocation_id, (None, None))
    return hold


def resources_for(relocation_id: str | None) -> Resources:
    """Return what this process has opened for a relocation, else what opens the blocks anew."""
    _hold, resources = _held.get(relocation_id or "", (None, None))
    return resources or Resources(Settings())

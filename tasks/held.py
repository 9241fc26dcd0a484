"""What this process holds or held: its hooks end what it began without waiting for the lease."""

from sqlalchemy import Engine

from relocation.blocks import load_ledger
from relocation.ledger.holds import Hold
from relocation.settings import Settings

_held: dict[str, tuple[Hold, Engine]] = {}


def remember(hold: Hold, ledger: Engine) -> None:
    """Keep the hold that this process has on a relocation, and the ledger it was opened in."""
    _held[hold.relocation_id] = (hold, ledger)


def own_hold(relocation_id: str) -> Hold | None:
    """Return the hold that this process has or had on a relocation."""
    hold, _ledger = _held.get(relocation_id, (None, None))
    return hold


def ledger_for(relocation_id: str | None) -> Engine:
    """Return the ledger this process opened the relocation in, else the one the block names now."""
    _hold, ledger = _held.get(relocation_id or "", (None, None))
    return ledger or load_ledger(Settings())

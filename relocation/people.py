"""Who is told about a relocation."""

from relocation.ledger.relocations import Relocation


def addressees(relocation: Relocation, *, otherwise: str | None = None) -> list[str]:
    """Return the addresses of owner and creator, each once, as far as they are known (R-20).

    Where none is known, the address in `otherwise` stands in for them.
    """
    known = [address for address in (relocation.owner_email, relocation.creator_email) if address]
    unique = list({address.lower(): address for address in known}.values())
    return unique or ([otherwise] if otherwise else [])

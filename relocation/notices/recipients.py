"""Who is told about a relocation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relocation.errors import PersonError
from relocation.model import Relocation
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.wire import mail_address
from relocation.request import RelocationRequest
from relocation.text import one_line


@dataclass(frozen=True)
class Addressee:
    """An address, and those in whose place it is told, as 'the owner "olivia"'."""

    address: str
    stands_in_for: tuple[str, ...] = ()


def addressees(relocation: Relocation, operator: str) -> list[Addressee]:
    """Return owner and creator, each address once (R-20).

    The operator stands in for who has no address that mail can go to: nobody's news is lost (W-45).
    """
    people = {relocation.owner: ("owner", relocation.owner_email)}
    if relocation.creator is not None:
        people.setdefault(relocation.creator, ("creator", relocation.creator_email))
    known: dict[str, str] = {}
    unreached = []
    for username, (role, address) in people.items():
        if address and mailable(address):
            known.setdefault(address.lower(), address)
        else:
            unreached.append(_person(role, username))
    told = [Addressee(address) for address in known.values()]
    return [*told, Addressee(operator, tuple(unreached))] if unreached else told


def people_drafts(
    kind: NoticeKind,
    context: Mapping[str, Any],
    operator: str,
    *,
    about: Relocation | RelocationRequest,
) -> list[NoticeDraft]:
    """Return the notice for owner and creator; for the operator where nobody's address is known.

    In place of the reference's `send_relocation_update_email`.
    """
    if isinstance(about, Relocation):
        told = addressees(about, operator)
    else:  # it failed before anybody's address was read
        told = [Addressee(operator, (_person("owner", about.owner),))]
    return [
        NoticeDraft(
            kind, addressee.address, {**context, "stands_in_for": list(addressee.stands_in_for)}
        )
        for addressee in told
    ]


def _person(role: str, username: str) -> str:
    return f'the {role} "{one_line(username, limit=60)}"' if username else f"the {role} (not named)"


def mailable(address: str) -> bool:
    """Say whether an address is well formed; nothing is looked up."""
    try:
        mail_address(address)
    except ValueError:
        return False
    return True


def check_addresses(people: Iterable[tuple[str, str, str]]) -> None:
    """Refuse people, as (role, username, address), whose address is malformed (W-45).

    Who has none at all is not refused: the operator is told in their place. Raises PersonError,
    which does not quote the address.
    """
    for role, username, address in people:
        if address and not mailable(address):
            raise PersonError(
                f'The {role} "{one_line(username, limit=60)}" has an invalid email address.',
            )

"""What an import makes anew: random words, keys, tokens, ids (I-58, I-66, I-71 to I-74, I-80)."""

import hashlib
import uuid
from base64 import b32encode
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Final

from relocation.findings import FindingKind
from relocation.transfer.database.codec import format_datetime, parse_datetime
from relocation.transfer.load.batch import Batch, storable

Make = Callable[[Random], str]

_TOKEN_LIFETIME: Final = timedelta(days=30)
_WAITING: Final = timedelta(days=1)
"""Far longer than the product lets a subscription wait before it looks after it."""

UNUSABLE: Final = "!"
"""What the password of an imported user begins with: no hash does."""

CREATING: Final = 1
"""Status of a query subscription that the product has still to create where queries run."""
_NOT_WANTED: Final = (3, 4)
"""Statuses of those that are about to be deleted, or disabled."""


def random_word(random: Random, length: int) -> str:
    """Return a random word of letters and digits, with five bits of chance in each."""
    return b32encode(random.randbytes(length)).decode()[:length]


def refresh(field: str, make: Make, batch: Batch) -> None:
    """Give every record a value of its own, whatever the export has."""
    for draft in batch.rows:
        batch.put(draft, field, make(batch.random))


def renew(field: str, make: Make | None, batch: Batch, *, clear: str | None = None) -> None:
    """Replace values that are in use, by `make` or else by null; the record always arrives.

    `clear` names a field that told a part of the replaced value, and becomes null with it.
    """
    if field not in batch.table.fields:
        return
    needed = make is not None and not batch.table.column(field).nullable
    given = storable(draft.values.get(field) for draft in batch.rows)
    in_use = set(batch.taken(field, given))
    for draft in batch.rows:
        value = draft.values.get(field)
        if value is None and not needed:
            continue
        if value is not None and not (isinstance(value, str) and value in given):
            continue  # whatever it is, it does not fit, and is refused with all that does not
        if value is not None and value not in in_use:
            in_use.add(value)
            continue
        draft.values[field] = make(batch.random) if make else None
        if clear is not None:
            batch.put(draft, clear, value=None)
        why = "was in use" if value is not None else "was missing"
        what = "a new one was made" if make else "it is empty now"
        batch.report(FindingKind.RENEWED, draft.pk, f"It {why}; {what}.", field)


def prolong_tokens(batch: Batch) -> None:
    """Renew what tells of a token that had to be renewed, and every token's time (I-80)."""
    renewed = {(one.field, one.pk) for one in batch.findings if one.kind is FindingKind.RENEWED}
    expires = format_datetime(parse_datetime(batch.now) + _TOKEN_LIFETIME)
    for draft in batch.rows:
        if draft.values.get("expires_at") is not None:
            batch.put(draft, "expires_at", expires)
        for field in ("token", "refresh_token"):
            if (field, draft.pk) in renewed:
                new = str(draft.values[field])
                batch.put(draft, f"hashed_{field}", hashlib.sha256(new.encode()).hexdigest())
                if field == "token":
                    batch.put(draft, "token_last_characters", new[-4:])


def begin_subscriptions(batch: Batch) -> None:
    """Let the product subscribe to each query anew: an id of elsewhere stands for nothing here.

    Its own checker takes what has been waiting to be created for a while. What was disabled or
    about to be deleted stays so.
    """
    waiting_since = format_datetime(parse_datetime(batch.now) - _WAITING)
    for draft in batch.rows:
        batch.put(draft, "subscription_id", None)
        if draft.values.get("status") not in _NOT_WANTED:
            batch.put(draft, "status", CREATING)
            batch.put(draft, "date_updated", waiting_since)


def random_hex(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def uuid4(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def token(random: Random) -> str:
    return f"{random.getrandbits(256):064x}"


def token_hash(random: Random) -> str:
    """Return the hash of a token that nobody knows: the owner makes a new one (I-66)."""
    return hashlib.sha256(random_word(random, 64).encode()).hexdigest()

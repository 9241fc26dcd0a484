"""Learn from an export which installation it was made on."""

import re
from collections.abc import Iterable, Iterator

from relocation.archive.record import Record

_OPTIONS = frozenset({"sentry.option", "sentry.controloption"})
_ADDRESS = "system.url-prefix"
"""The option in which an installation keeps its own address."""
_HOST = re.compile(r"https?://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?)(?=[/\"]|$)")


class Origin:
    """The host that an export names as its own, "" until one was seen; it may be anybody's word."""

    def __init__(self) -> None:
        self.host = ""

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records unchanged."""
        for record in records:
            if record.model in _OPTIONS and record.fields.get("key") == _ADDRESS:
                found = _HOST.search(str(record.fields.get("value")).lower())
                self.host = found[1] if found else self.host
            yield record

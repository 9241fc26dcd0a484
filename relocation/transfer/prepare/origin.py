"""Learn from an export which installation it was made on."""

import re
from collections import deque
from collections.abc import Iterable, Iterator

from sqlalchemy import Engine, select

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.transfer.database.schema import reflect

_OPTIONS = frozenset({"sentry.option", "sentry.controloption"})
_ADDRESS = "system.url-prefix"
"""The option in which an installation keeps its own address."""
_HOST = re.compile(r"https?://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?)(?=[/\"]|$)")


def host_of(engine: Engine) -> str:
    """Return the host that a live product keeps as its own, "" where it keeps none."""
    tables = reflect(engine, [load_catalogue()[name] for name in sorted(_OPTIONS)])
    origin = Origin()
    with engine.connect() as connection:
        for name, table in tables.items():
            key, value = table.column("key"), table.column("value")
            kept = connection.execute(select(value).where(key == _ADDRESS))
            fields = [{"key": _ADDRESS, "value": one} for (one,) in kept]
            deque(origin.watch(Record(name, 0, one) for one in fields), maxlen=0)
    return origin.host


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

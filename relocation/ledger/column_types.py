"""Columns whose values come back the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator

_CUT = "\n...\n"


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored and read back in UTC on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn the time to UTC; raises ValueError for one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time must have a zone")
        utc = value.astimezone(UTC)
        # SQLite keeps text: without a zone it sorts as time does.
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the interface of SQLAlchemy
        """Give the time its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class BoundedText(TypeDecorator[str]):
    """Text whose length and characters can never keep a row from being stored (W-4).

    What is too long loses its middle; what a database cannot hold (NUL, lone surrogates) is
    replaced.
    """

    impl = Text
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the interface of SQLAlchemy
        """Make the text storable."""
        if value is None:
            return None
        storable = value.replace("\0", "?").encode("utf-8", "replace").decode()
        if len(storable) <= self.limit:
            return storable
        half = (self.limit - len(_CUT)) // 2
        return storable[:half] + _CUT + storable[-half:]

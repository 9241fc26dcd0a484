"""Keep to a number of messages a minute."""


class Pace:
    """Spread messages evenly; 0 a minute is no limit. It counts within this process alone."""

    def __init__(self, per_minute: int) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._free_from = 0.0

    def wait(self, now: float) -> float:
        """Take the next turn; returns the seconds until it comes."""
        turn = max(now, self._free_from)
        self._free_from = turn + self._gap
        return turn - now

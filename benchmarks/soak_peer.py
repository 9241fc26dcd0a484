"""An SMTP peer with moods: it takes mail, puts it off, refuses it, hangs, or loses its answer."""

import asyncio
import email
import email.policy
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

HANG_SECONDS = 20.0
"""Longer than the mail block waits for an answer."""
MOODS = ("busy", "greylist", "refuse", "hang", "forget")
"""421, 451, 550, no answer at all, no answer after the mail was taken."""


@dataclass(frozen=True)
class Taken:
    """A mail that was taken, and whether the sender was told so."""

    message_id: str
    recipient: str
    content: bytes
    told: bool


class Peer:
    """Listens on one port of the loopback interface; may be stopped and started again."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.trouble = 0.0
        """The share of mails that meet a mood."""
        self.taken: list[Taken] = []
        self.answers: Counter[str] = Counter()
        self.alerts = 0
        """Mails of Prefect's own automations, which are no notices of ours."""
        self.refused: set[str] = set()
        """Message-IDs that were refused for good."""
        self._random = random.Random(seed)  # noqa: S311 - the same chaos for the same seed
        self._lock = threading.Lock()
        self._controller: Controller | None = None

    def start(self) -> None:
        """Listen; a port that is not free yet is tried again."""
        for _ in range(50):
            self._controller = Controller(
                self, hostname="127.0.0.1", port=self.port, ready_timeout=30
            )
            try:
                self._controller.start()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(f"port {self.port} did not become free")

    def stop(self) -> None:
        """Close the port and break what is under way."""
        if self._controller is not None:
            self._controller.stop(no_assert=True)
            self._controller = None

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 - the library's name
        """Answer a mail as the mood is."""
        content = bytes(envelope.original_content or b"")
        headers = email.message_from_bytes(content, policy=email.policy.default)
        if "List-Id" not in headers:
            self.alerts += 1
            return "250 2.0.0 taken"
        message_id = str(headers["Message-ID"])
        mood = self._mood()
        with self._lock:
            self.answers[mood] += 1
            if mood in {"take", "forget"}:
                (recipient,) = envelope.rcpt_tos
                self.taken.append(Taken(message_id, recipient, content, mood == "take"))
            if mood == "refuse":
                self.refused.add(message_id)
        match mood:
            case "busy":
                return "421 4.3.2 closing for a while"
            case "greylist":
                return "451 4.7.1 try again later"
            case "refuse":
                return "550 5.1.1 no such person"
            case "hang" | "forget":
                await asyncio.sleep(HANG_SECONDS)
                return "451 4.4.2 too late"
            case _:
                return "250 2.0.0 taken"

    def _mood(self) -> str:
        if self._random.random() >= self.trouble:
            return "take"
        return self._random.choice(MOODS)

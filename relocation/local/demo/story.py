"""What happens in the demo, in order."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import func, select

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.record import Record
from relocation.example import example_archive, example_export
from relocation.ledger.relocations import find_relocation
from relocation.local.console import Console
from relocation.local.stack import Machine
from relocation.model import Relocation
from relocation.prefect_api.blocks import load_private_key, load_storage
from relocation.prefect_api.flow_runs import is_finished, rerun, submit
from relocation.request import RelocationRequest
from relocation.steps import Status, Task
from relocation.transfer.database.schema import IMPORT_CHUNK

WAIT_SECONDS = 90


@dataclass(frozen=True)
class Ending:
    """How one relocation of the demo ended, and whether that was to be."""

    title: str
    relocation: Relocation
    expected: Status

    @property
    def good(self) -> bool:
        """Whether it ended as it should."""
        return self.relocation.status == self.expected


class Story:
    """The relocations of the demo, one after the other."""

    def __init__(self, machine: Machine, console: Console) -> None:
        self._machine = machine
        self._console = console

    def play(self) -> list[Ending]:
        """Relocate to success, fail three times, mend the last and rerun it; return the endings."""
        key = public_key_of(load_private_key(self._machine.settings))
        with self._console.doing("Writing example archives, encrypted to the relocation key"):
            good = self._archive("two-organizations.tar", example_export(organizations=2), key)
            records = example_export(organizations=1, members=3, projects=300)
            large = self._archive("large.tar", records, key)
            foreign = public_key_of(create_private_key(2048))
            locked = self._archive("wrong-key.tar", example_export(organizations=1), foreign)
        return [
            self._relocate(
                "two organizations are relocated", good, ["acme", "birch-labs"], "olivia"
            ),
            self._relocate("an archive encrypted to another key", locked, ["acme"], "marcus"),
            self._relocate("an organization that is not in the file", good, ["nowhere"], "nadia"),
            *self._lose_and_bring_back_the_destination(large),
        ]

    def _archive(self, name: str, records: Iterable[Record], public_key: str) -> str:
        key = f"archives/{name}"
        load_storage(self._machine.settings).write(key, example_archive(records, public_key))
        return key

    def _relocate(self, title: str, archive: str, slugs: list[str], owner: str) -> Ending:
        self._console.heading(f"Relocation: {title}")
        request = RelocationRequest(archive=archive, organizations=slugs, owner=owner)
        expected = Status.SUCCESS if owner == "olivia" else Status.FAILURE
        return self._follow(title, submit(request), expected)

    def _lose_and_bring_back_the_destination(self, archive: str) -> list[Ending]:
        title = "the destination goes away during the import"
        self._console.heading(f"Relocation: {title}")
        request = RelocationRequest(archive=archive, organizations=["acme"], owner="petra")
        relocation_id = submit(request)
        home, away = self._machine.home / "destination", self._machine.home / "destination.away"
        self._when_importing(relocation_id, lambda: home.rename(away))
        failed = self._follow(title, relocation_id, Status.FAILURE)

        self._console.heading("The destination is back, and the same relocation is rerun")
        away.rename(home)
        rerun(relocation_id)
        title = "the same, rerun from where it stopped"
        return [failed, self._follow(title, relocation_id, Status.SUCCESS, round_=2)]

    def _follow(self, title: str, relocation_id: str, expected: Status, round_: int = 1) -> Ending:
        """Wait until the relocation's run has ended, naming each task it comes to."""
        deadline = time.monotonic() + WAIT_SECONDS
        shown: Task | None = None
        while time.monotonic() < deadline:
            one = find_relocation(self._machine.ledger, relocation_id)
            if one and one.round == round_:
                if one.task != shown:
                    shown = one.task
                    self._console.step(f"{one.step.name.lower()}: {shown}")
                if one.settled_round == round_ and is_finished(relocation_id):
                    self._console.ended(one.status, one.reason or "")
                    return Ending(title, one, expected)
            time.sleep(0.1)
        raise TimeoutError(f"{relocation_id} did not end within {WAIT_SECONDS} seconds")

    def _when_importing(self, relocation_id: str, act: Callable[[], object]) -> None:
        """Act once the first chunk of the import is in the destination, while none is written."""
        chunks = select(func.count()).where(IMPORT_CHUNK.c.relocation_id == relocation_id)
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with self._machine.destination.begin() as connection:
                done = connection.execute(chunks).scalar_one()
                if done:
                    act()
                    self._console.step(f"the destination goes away after {done} chunk(s)")
                    return
            time.sleep(0.02)
        raise TimeoutError(f"{relocation_id} did not begin its import")

"""What happens in the demo, in order."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.errors import CommandError
from relocation.example import example_archive, example_export
from relocation.ledger.relocations import find_relocation
from relocation.local.console import Console
from relocation.local.stack import Stack
from relocation.model import Relocation
from relocation.prefect_api.blocks import load_private_key, load_storage
from relocation.prefect_api.flow_runs import RELOCATE, is_finished, rerun, submit
from relocation.request import RelocationRequest
from relocation.steps import Status, Task
from relocation.transfer.database.schema import FENCE, IMPORT_CHUNK

ROOM = 40
"""Chunks of an import that the destination takes while it is short of room."""
# The scratch database of a trial import has the destination's triggers, but no other relocation.
_FILL = f"""
CREATE TRIGGER short_of_room BEFORE INSERT ON {IMPORT_CHUNK.name}
WHEN EXISTS (SELECT 1 FROM {FENCE.name} WHERE relocation_id <> NEW.relocation_id)
AND (SELECT count(*) FROM {IMPORT_CHUNK.name} WHERE relocation_id = NEW.relocation_id) >= {ROOM}
BEGIN SELECT RAISE(ABORT, 'there is no room for more'); END
"""
_MAKE_ROOM = "DROP TRIGGER short_of_room"

STALL_SECONDS = 600
"""After which a relocation that has not moved at all is given up: no machine is that slow."""


@dataclass(frozen=True)
class Expected:
    """How a relocation of the demo is to end."""

    status: Status
    reason: str = ""
    """A part of the reason."""
    round: int = 1


@dataclass(frozen=True)
class Ending:
    """How one relocation of the demo ended, and how that was to be."""

    title: str
    relocation: Relocation
    expected: Expected

    @property
    def good(self) -> bool:
        """Whether it ended as it should."""
        one, expected = self.relocation, self.expected
        as_expected = (one.status, one.round) == (expected.status, expected.round)
        return as_expected and expected.reason in (one.reason or "")


class Scenario:
    """The relocations of the demo, one after the other."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console

    def play(self) -> list[Ending]:
        """Relocate to success, fail three times, mend the last and rerun it; return the endings.

        An ending other than the expected one is said, and is the last.
        """
        endings = []
        for ending in self._relocations():
            endings.append(ending)
            if not ending.good:
                expected = ending.expected
                self._console.say(
                    f"  It was to end with {expected.status} in round {expected.round}"
                    + (f', and a reason with "{expected.reason}".' if expected.reason else ".")
                )
                break
        return endings

    def _relocations(self) -> Iterator[Ending]:
        key = public_key_of(load_private_key(self._stack.settings))
        with self._console.doing("Writing example archives, encrypted to the relocation key"):
            good = self._archive("two-organizations.tar", example_export(organizations=2), key)
            records = example_export(organizations=1, members=3, projects=300)
            large = self._archive("large.tar", records, key)
            foreign = public_key_of(create_private_key(2048))
            locked = self._archive("wrong-key.tar", example_export(organizations=1), foreign)
        yield self._relocate(
            "two organizations are relocated",
            RelocationRequest(archive=good, organizations=["acme", "birch-labs"], owner="olivia"),
            Expected(Status.SUCCESS),
        )
        yield self._relocate(
            "an archive encrypted to another key",
            RelocationRequest(archive=locked, organizations=["acme"], owner="marcus"),
            Expected(Status.FAILURE, "key"),
        )
        yield self._relocate(
            "an organization that is not in the file",
            RelocationRequest(archive=good, organizations=["nowhere"], owner="nadia"),
            Expected(Status.FAILURE, "nowhere"),
        )
        yield from self._run_out_of_room_and_go_on(large)

    def _archive(self, name: str, records: Iterable[Record], public_key: str) -> str:
        key = f"archives/{name}"
        load_storage(self._stack.settings).write(key, example_archive(records, public_key))
        return key

    def _relocate(self, title: str, request: RelocationRequest, expected: Expected) -> Ending:
        self._console.heading(f"Relocation: {title}")
        deployment = self._stack.settings.named(RELOCATE)
        return self._follow(title, submit(request, deployment=deployment), expected)

    def _run_out_of_room_and_go_on(self, archive: str) -> Iterator[Ending]:
        self._execute(_FILL)
        self._console.heading(f"The destination has no room for more than {ROOM} chunks now")
        failed = self._relocate(
            "the destination runs out of room during the import",
            RelocationRequest(archive=archive, organizations=["acme"], owner="petra"),
            Expected(Status.FAILURE, "rejected"),
        )
        yield failed
        self._execute(_MAKE_ROOM)
        self._console.heading("The destination has room again, and the same relocation is rerun")
        rerun(failed.relocation.id)
        title = "the same, rerun from where it stopped"
        yield self._follow(title, failed.relocation.id, Expected(Status.SUCCESS, round=2))

    def _execute(self, statement: str) -> None:
        with self._stack.destination.begin() as connection:
            connection.exec_driver_sql(statement)

    def _follow(self, title: str, relocation_id: str, expected: Expected) -> Ending:
        """Wait until the relocation's run has ended, naming each task it comes to.

        Raises CommandError where that can no longer be.
        """
        last: Relocation | None = None
        shown: Task | None = None
        moved = time.monotonic()
        while time.monotonic() < moved + STALL_SECONDS:
            one = find_relocation(self._stack.ledger, relocation_id)
            if one != last:  # a process that lives renews its lease, and so moves it
                last, moved = one, time.monotonic()
            if one and one.round == expected.round:
                if one.task != shown:
                    shown = one.task
                    self._console.step(f"{one.step.name.lower()}: {shown}")
                if one.settled_round == one.round and is_finished(relocation_id):
                    self._console.ended(one.status, one.reason or "")
                    return Ending(title, one, expected)
            self._stack.check_running()
            time.sleep(0.1)
        where = f"{last.status} in {last.step.name}" if last else "not begun"
        raise CommandError(f"Relocation {relocation_id} does not get any further: it is {where}.")

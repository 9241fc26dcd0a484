"""Choose the records that belong to the wanted organizations, from keys and references alone.

A record of the organization tree belongs when at least one of its references leads to a record
that belongs, and none leads to a record of another organization. References to users, to models
outside the tree and to records that are not in the file do not decide: the import sets them to null
or drops the record. A record that nothing decides (a snuba query without an environment, and what
refers to it alone) belongs when it hangs together with one that does, in either direction.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.findings import FindingKind
from relocation.model import ExportedOrganization
from relocation.transfer.prepare.key_table import ABSENT, NULL, USER, KeyTable, State
from relocation.transfer.prepare.left_out import LeftOut

_ORGANIZATION = "sentry.organization"
_MEMBER = "sentry.organizationmember"
_EMAIL = "sentry.email"
_USER_EMAIL = "sentry.useremail"
_USER_OPTION = "sentry.useroption"
_USER_FIELDS = {_MEMBER: "user_id", _USER_EMAIL: "user", _USER_OPTION: "user"}
"""The references to users that decide which users belong, or belong to them."""

_Place = tuple[str, int]
"""A model and the row of one of its records."""

_NO_ADDRESS = -1
_FLAGS = bytes(int(state == State.SELECTED) for state in range(256))


@dataclass(frozen=True)
class Selected:
    """What belongs to the wanted organizations."""

    organizations: tuple[ExportedOrganization, ...]
    usernames: tuple[str, ...]
    """Of the selected users, sorted."""
    flags: Mapping[str, bytes]
    """For each model a byte for each record in the order added: 1 when selected, else 0."""


class Selection:
    """Take in the keys of records in any order, then choose."""

    def __init__(self) -> None:
        admitted = load_catalogue().admitted(Scope.ORGANIZATION)
        tree = {model.name for model in admitted if Scope.ORGANIZATION in model.scopes}
        self._tables = {
            model.name: KeyTable(model, tree, _USER_FIELDS.get(model.name)) for model in admitted
        }
        self._tree = [table for name, table in self._tables.items() if name in tree]
        self._organizations: list[ExportedOrganization] = []
        self._usernames: list[str] = []
        self._named: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._address_columns = {name: array("q") for name in (USER, _EMAIL, _USER_EMAIL)}
        self._texts: dict[str, Callable[[Record], None]] = {
            _ORGANIZATION: self._note_organization,
            USER: self._note_user,
            _EMAIL: self._note_address,
            _USER_EMAIL: self._note_address,
        }

    def add(self, record: Record) -> bool:
        """Take in an in-scope record; False when its model already has one with that pk.

        Raises OverflowError when a reference exceeds 64 bits.
        """
        model, pk, fields = record
        if not self._tables[model].add(pk, fields):
            return False
        note = self._texts.get(model)
        if note is not None:
            note(record)
        return True

    def add_all(self, model: str, records: Sequence[Record]) -> bool:
        """Take in records of one in-scope model; False where they have to be added one by one."""
        if not self._tables[model].add_all(records):
            return False
        note = self._texts.get(model)
        if note is not None:
            for record in records:
                note(record)
        return True

    def exclude(self, model: str, pk: int) -> None:
        """Note a record that is out of scope, and with it all that refers to it (S-4)."""
        self._tables[model].index.setdefault(pk, ABSENT)

    @property
    def slugs(self) -> set[str]:
        """The slugs of the organizations taken in so far."""
        return {organization.slug for organization in self._organizations}

    @property
    def has_users(self) -> bool:
        """Whether a user was taken in."""
        return bool(self._usernames)

    def natural_keys(self) -> dict[str, int]:
        """Return the pk for each username that stood for a reference and is in the file (T-13)."""
        pks = self._pks_by_username()
        met = {name for table in self._tables.values() for name in table.usernames}
        return {name: pks[name] for name in sorted(met) if name in pks}

    def selects(self, model: str, key: int | str) -> bool:
        """Say whether the record with the pk, or the user with the name, is selected."""
        if isinstance(key, str):
            self._named = self._named or self._pks_by_username()
            return model == USER and self._tables[USER].selects(self._named.get(key, ABSENT))
        table = self._tables.get(model)
        return table is not None and table.selects(key)

    def outside(self) -> Iterator[tuple[tuple[str, FindingKind], int]]:
        """Yield how many records of selected ones hang on one that is out of scope, by model."""
        for table in self._tree:
            if State.OUTSIDE not in table.state:
                continue
            columns = list(self._links(table))
            rows = (row for row, state in enumerate(table.state) if state == State.OUTSIDE)
            count = sum(any(to.selects(column[row]) for column, to in columns) for row in rows)
            if count:
                yield (table.name, FindingKind.OUT_OF_SCOPE), count

    def choose(self, slugs: Collection[str], left_out: LeftOut) -> Selected:
        """Choose what belongs to the organizations with these slugs; once all records are in.

        What does not is told to `left_out`.
        """
        self._resolve_natural_keys()
        wanted = tuple(found for found in self._organizations if found.slug in slugs)
        organizations = self._tables[_ORGANIZATION]
        pks = {organization.pk for organization in wanted}
        organizations.state[:] = bytes(
            State.SELECTED if found.pk in pks else State.OTHER for found in self._organizations
        )
        for table in self._tree:
            for column, target in self._links(table):
                table.follow(column, target)
        self._follow()
        self._choose_users()
        self._tell(left_out)
        users = zip(self._usernames, self._tables[USER].state, strict=True)
        return Selected(
            organizations=tuple(sorted(wanted, key=lambda found: (found.slug, found.pk))),
            usernames=tuple(sorted({name for name, state in users if state == State.SELECTED})),
            flags={
                name: bytes(table.state.translate(_FLAGS))
                for name, table in self._tables.items()
                if table.state
            },
        )

    def _tell(self, left_out: LeftOut) -> None:
        for name, table in self._tables.items():
            for pk, row in table.index.items():
                if row == ABSENT or table.state[row] == State.SELECTED:
                    continue
                outside = table.state[row] == State.OUTSIDE
                kind = FindingKind.OUT_OF_SCOPE if outside else FindingKind.NOT_REQUESTED
                left_out.add(name, kind, pk)

    def _links(self, table: KeyTable) -> Iterator[tuple["array[int]", KeyTable]]:
        for field, to in table.targets.items():
            if self._tables[to].index:
                yield table.columns[field], self._tables[to]

    def _follow(self) -> None:
        """Select the undecided records that hang together with a selected one.

        A record that could name its organization and does not comes by what it refers to only where
        nothing of another organization refers to either of them: else it may be theirs.
        """
        neighbours: defaultdict[_Place, list[_Place]] = defaultdict(list)
        guarded: defaultdict[_Place, list[_Place]] = defaultdict(list)
        reached: list[_Place] = []
        foreign: set[_Place] = set()
        for table in self._tree:
            downwards = guarded if _ORGANIZATION in table.targets.values() else neighbours
            for column, target in self._links(table):
                if State.UNDECIDED not in target.state:
                    continue
                for row, pk in enumerate(column):
                    found = target.index.get(pk, ABSENT)
                    if found == ABSENT or target.state[found] != State.UNDECIDED:
                        continue
                    place = target.name, found
                    if table.state[row] == State.SELECTED:
                        reached.append(place)
                    elif table.state[row] == State.UNDECIDED:
                        neighbours[table.name, row].append(place)
                        downwards[place].append((table.name, row))
                    else:
                        foreign.add(place)
        while reached:
            place = reached.pop()
            state = self._tables[place[0]].state
            if state[place[1]] == State.UNDECIDED:
                state[place[1]] = State.SELECTED
                reached.extend(neighbours[place])
                if place not in foreign:
                    reached.extend(one for one in guarded[place] if one not in foreign)

    def _choose_users(self) -> None:
        """Select the members of the wanted organizations (I-41), and what belongs to a user."""
        users, members = self._tables[USER], self._tables[_MEMBER]
        organizations = self._tables[_ORGANIZATION]
        pairs = zip(members.columns["organization"], members.columns["user_id"], strict=True)
        for organization, user in pairs:
            if organizations.selects(organization):
                users.select(user)
        addresses = self._choose_by_user(_USER_EMAIL)
        for row, address in enumerate(self._address_columns[USER]):
            if users.state[row] == State.SELECTED:
                addresses.add(address)
        emails = self._tables[_EMAIL]
        for row, address in enumerate(self._address_columns[_EMAIL]):
            if address != _NO_ADDRESS and address in addresses:
                emails.state[row] = State.SELECTED
        self._choose_by_user(_USER_OPTION)

    def _choose_by_user(self, name: str) -> set[int]:
        """Select the records whose every reference is selected or null; return their addresses.

        An option for one organization or project must not become one for all of them, so here a
        reference to what is not in the file decides as well.
        """
        table, users = self._tables[name], self._tables[USER]
        addresses = self._address_columns.get(name)
        chosen: set[int] = set()
        scopes = [(table.columns[field], self._tables[to]) for field, to in table.targets.items()]
        for row, user in enumerate(table.columns["user"]):
            if users.selects(user) and all(
                column[row] == NULL or target.selects(column[row]) for column, target in scopes
            ):
                table.state[row] = State.SELECTED
                if addresses is not None:
                    chosen.add(addresses[row])
        return chosen

    def _resolve_natural_keys(self) -> None:
        pks = self._pks_by_username()
        for table in self._tables.values():
            for field, row, username in table.unresolved:
                table.columns[field][row] = pks.get(username, NULL)

    def _pks_by_username(self) -> dict[str, int]:
        """Map usernames to pks; of two users with one name the lower pk counts."""
        pks = sorted(zip(self._tables[USER].index, self._usernames, strict=True), reverse=True)
        return {username: pk for pk, username in pks}

    def _note_organization(self, record: Record) -> None:
        slug, name = record.fields.get("slug"), record.fields.get("name")
        self._organizations.append(
            ExportedOrganization(record.pk, str(slug or ""), str(name or ""))
        )

    def _note_user(self, record: Record) -> None:
        self._usernames.append(str(record.fields.get("username") or ""))
        self._note_address(record)

    def _note_address(self, record: Record) -> None:
        address = record.fields.get("email")
        number = _NO_ADDRESS
        if isinstance(address, str) and address:
            number = self._addresses.setdefault(address.lower(), len(self._addresses))
        self._address_columns[record.model].append(number)

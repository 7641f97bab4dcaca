"""Contacts that make a statement over many fail: isolated, reported, and never in the way of others.

Their mapping divides by zero, takes forever, or produces a value that does not fit into memory a hundred times. So a statement
that reads many contacts truncates each value. A contact with a longer one is read alone, in full, and only so much at a time.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from crm_sync.core.outcome import Contact
from crm_sync.core.values import Apart, Form
from crm_sync.errors import DatabaseTroubleError, RowRefusedError, TooSlowError, UnsendableError
from crm_sync.log import FaultLog
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render

# Of a statement's timeout: within it, several contacts are halved, or a single expression is identified.
SHARE_OF_SEVERAL = 0.2
QUICK_S = 0.1  # behind a slow one: contacts that take longer are put back
SHORT = 4096  # characters of one value when many contacts are read at once: more than most have
MOST_READ = 8_000_000  # characters of contacts with longer values in one claim: the others go back in line
LONGEST_ADDRESS = 1000  # characters of it that are read

_SIZE = re.compile(r'"(\d+) bytes"')  # in the error that the mapping makes Postgres raise for a list


class Claimed(NamedTuple):
    """unreadable: claimed too, but the mapping failed for them; each with the reason. returned: claimed too, but too large to
    read together with the others now, or behind one that took too long. size: characters of those that were read in full. slow:
    the mapping takes too long for one of them.
    """

    contacts: list[Contact]
    unreadable: list[tuple[Contact, str]]
    returned: Sequence[Contact] = ()
    size: int = 0
    slow: bool = False


def joined(parts: Iterable[Claimed]) -> Claimed:
    contacts: list[Contact] = []
    unreadable: list[tuple[Contact, str]] = []
    returned: list[Contact] = []
    size, slow = 0, False
    for part in parts:
        contacts += part.contacts
        unreadable += part.unreadable
        returned += part.returned
        size += part.size
        slow = slow or part.slow
    return Claimed(contacts, unreadable, returned, size, slow)


def put_back(contacts: Iterable[Contact]) -> Claimed:
    return Claimed([], [], [contact._replace(fields={}) for contact in contacts])


def cut(email: str, fields: Mapping[str, str], longest: Mapping[str, int], most: int | None = None) -> str:
    """The expressions of a statement that reads contacts: of each text, one character more than it may have, or than `most`."""
    bounds = {name: bound if most is None else min(bound, most) for name, bound in longest.items()}
    parts = [f"left({email}, {LONGEST_ADDRESS})"]
    parts += [f"left({sql}, {bounds[name] + 1})" if name in bounds else sql for name, sql in fields.items()]
    return ",\n    ".join(parts)


def written(contacts: list[Contact], writers: Mapping[str, Form], apart: Sequence[Apart], faults: FaultLog) -> Claimed:
    """Converts their values in place to the form that the CRM takes. A contact with a value that cannot be converted is
    unreadable, and so is one that is to join and to leave the same. apart: whose names have writers.

    A bug in a form, which a plug-in can bring along, is that of the contacts that trigger it too, and faults tells of it.
    """
    if not writers:
        return Claimed(contacts, [])
    taken: list[Contact] = []
    unreadable: list[tuple[Contact, str]] = []
    for contact in contacts:
        fields = contact.fields
        name = ""
        try:
            for name, write in writers.items():
                value = fields[name]
                if value is not None:
                    fields[name] = write(value)
            for joins, leaves, noun in apart:
                name = f"{joins}, {leaves}"
                _require_apart(fields[joins], fields[leaves], noun)
        except UnsendableError as error:
            # Without fields, like one that could not be read: then nothing in the reason is masked for being one of its values.
            unreadable.append((contact._replace(fields={}), f"{name}: {error}"))
        except Exception as error:  # noqa: BLE001 (told with its traceback)
            faults.tell(error)
            words = f"{name}: its conversion failed ({type(error).__name__}): see the log for its traceback"
            unreadable.append((contact._replace(fields={}), words))
        else:
            taken.append(contact)
    return Claimed(taken, unreadable)


def _require_apart(joined: Sequence[int] | None, left: Sequence[int] | None, noun: str) -> None:
    """Raises UnsendableError."""
    if both := [one for one in joined or () if one in (left or ())]:
        named = f"{noun} {both[0]} is" if len(both) == 1 else f"{noun}s {', '.join(map(str, both))} are"
        raise UnsendableError(f"{named} in both, so it is not clear what is meant: remove it from one of them")


class Reader:
    """Reads what is sent for contacts that are already claimed. Raises as Database.fetch does, but neither RowRefusedError nor
    TooSlowError.
    """

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        email: str,
        fields: Mapping[str, str],
        *,
        writers: Mapping[str, Form] = MappingProxyType({}),
        longest: Mapping[str, int] = MappingProxyType({}),
        apart: Sequence[Apart] = (),
        finish: Callable[["Claimed"], "Claimed"] | None = None,
    ) -> None:
        """variables: those of the statements. The others are as in `crm_sync.table.contacts`. finish: applied last to what was
        read; None for nothing.
        """
        self._database = database
        self._finish = finish
        self._writers = writers
        self._longest = longest
        self._apart = apart
        self._faults = FaultLog(variables["crm"])
        self._names = tuple(fields)
        self._read = render("read_contacts", {**variables, "mapped": cut(email, fields, longest, SHORT)})
        self._read_whole = render("read_contacts", {**variables, "mapped": cut(email, fields, longest)})
        self._measure = {
            name: render("read_contacts", {**variables, "mapped": f"length({fields[name]})"})
            for name in longest
            if name in fields
        }
        self._read_one = {
            name: render("read_contacts", {**variables, "mapped": expression})
            for name, expression in {"email": email, **fields}.items()
        }

    async def read(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """Halved if the mapping fails or takes too long, until the culprits are isolated."""
        if len(contacts) == 1:
            return await self._read_alone(contacts[0], token)
        patience_s = self._database.patience_s * SHARE_OF_SEVERAL
        try:
            rows = await self._database.fetch_within(patience_s, self._read, [contact.id for contact in contacts], token)
        except (RowRefusedError, TooSlowError):
            middle = len(contacts) // 2
            first = await self.read(contacts[:middle], token)
            # The others do not wait behind a slow one: quick ones go on, the rest go to the end of the line.
            rest = self._read_quick(contacts[middle:], token) if first.slow else self.read(contacts[middle:], token)
            return joined([first, await rest])
        # Missing ones were deleted since.
        values = {row[0]: row[1:] for row in rows}
        return await self.complete([self._filled(one, values[one.id]) for one in contacts if one.id in values], token)

    async def complete(self, contacts: list[Contact], token: int) -> Claimed:
        """For contacts read by a statement that truncates values. Those with a truncated value are read again, one by one."""
        if not self._longest or not (cut_short := [one for one in contacts if self._is_cut(one)]):
            return self._written(contacts)
        ids = {one.id for one in cut_short}
        parts = [self._written([one for one in contacts if one.id not in ids])]
        size = 0
        for place, one in enumerate(cut_short):
            if size > MOST_READ:
                parts.append(put_back(cut_short[place:]))
                break
            parts.append(await self._read_alone(one, token))
            size += parts[-1].size
        return joined(parts)

    async def _read_quick(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """Those that are quick, one by one. The others are put back."""
        parts = []
        for contact in contacts:
            try:
                parts.append(await self._read_whole_of(contact, token, QUICK_S))
            except (RowRefusedError, TooSlowError):
                parts.append(put_back([contact]))
        return joined(parts)

    def _is_cut(self, contact: Contact) -> bool:
        fields = contact.fields
        for name in self._longest:  # no any(): this runs for every contact, and any() takes twice as long
            value = fields[name]
            if value is not None and len(value) > SHORT:
                return True
        return False

    async def _read_alone(self, contact: Contact, token: int) -> Claimed:
        try:
            return await self._read_whole_of(contact, token, self._database.patience_s)
        except (RowRefusedError, TooSlowError) as error:
            why = await self._why_unreadable(contact, error)
            return Claimed([], [(contact._replace(fields={}), why)], slow=isinstance(error, TooSlowError))

    async def _read_whole_of(self, contact: Contact, token: int, patience_s: float) -> Claimed:
        """Raises RowRefusedError and TooSlowError."""
        rows = await self._database.fetch_within(patience_s, self._read_whole, [contact.id], token)
        if not rows:
            return Claimed([], [])  # deleted since
        whole = self._filled(contact, rows[0][1:])
        for name, longest in self._longest.items():
            value = whole.fields[name]
            if value is not None and len(value) > longest:
                return Claimed([], [(contact._replace(fields={}), await self._too_long(contact, name, longest))])
        size = sum(len(value) for value in whole.fields.values() if isinstance(value, str))
        return self._written([whole])._replace(size=size)

    async def _too_long(self, contact: Contact, name: str, longest: int) -> str:
        try:
            rows = await self._database.fetch_within(
                self._database.patience_s * SHARE_OF_SEVERAL, self._measure[name], [contact.id], contact.token
            )
        except (RowRefusedError, TooSlowError):
            rows = []
        length = f"{rows[0][1]:,}" if rows and rows[0][1] is not None else f"more than {longest:,}"
        return f"{name}: it is {length} characters long, and at most {longest:,} are sent"

    async def _why_unreadable(self, contact: Contact, error: DatabaseTroubleError) -> str:
        patience_s = self._database.patience_s * SHARE_OF_SEVERAL
        for name, statement in self._read_one.items():
            try:
                await self._database.fetch_within(patience_s, statement, [contact.id], contact.token)
            except TooSlowError:
                return f"{name}: it takes longer than {patience_s:.1f} s for this contact"
            except RowRefusedError as of_this:
                size = _SIZE.search(str(of_this.__cause__))
                return f"{name}: {f'the list is {int(size[1]):,} bytes long, which is too much' if size else of_this}"
        return str(error)

    def _written(self, contacts: list[Contact]) -> Claimed:
        claimed = written(contacts, self._writers, self._apart, self._faults)
        return claimed if self._finish is None else self._finish(claimed)

    def _filled(self, contact: Contact, values: Sequence[Any]) -> Contact:
        return contact._replace(email=values[0], fields=dict(zip(self._names, values[1:], strict=True)))

"""Contacts that are poison to a statement that has a hundred: found, told of, and in nobody's way.

The mapping divides by what is zero there, or takes for ever; or a constraint or a trigger of the application lets nobody write to
the row.
"""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog

from crm_sync import events
from crm_sync.core.outcome import Contact
from crm_sync.core.text import name_of
from crm_sync.core.values import Form
from crm_sync.errors import DatabaseTroubleError, RowRefusedError, TooSlowError, UnsendableError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render

# Of a statement's time: that of several contacts is tried by halves, and an expression alone is named, before it is used up.
SHARE_OF_SEVERAL = 0.2

log = structlog.get_logger()


class Claimed(NamedTuple):
    """unreadable: claimed too, but the mapping failed for them; with the reason of each."""

    contacts: list[Contact]
    unreadable: list[tuple[Contact, str]]


def written(contacts: list[Contact], writers: Mapping[str, Form]) -> Claimed:
    """With their values in the form that the CRM takes, in place. One that has a value of which there is none is unreadable."""
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
        except UnsendableError as error:
            # Without fields, as one that could not be read: what is said of it is hidden nowhere for being one of its values.
            unreadable.append((contact._replace(fields={}), f"{name}: {error}"))
        else:
            taken.append(contact)
    return Claimed(taken, unreadable)


class Avoided:
    """Rows that the table refuses, left alone for a while. avoid_s: seconds before one is touched again."""

    def __init__(self, crm: str, avoid_s: float) -> None:
        self._avoid_s = avoid_s
        self._log = log.bind(crm=crm)
        self._until: dict[Any, float] = {}  # by id

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, contact_id: object, error: RowRefusedError) -> None:
        """The row can tell nobody, so the log does; again when it is tried again."""
        if contact_id not in self.ids():
            self._until[contact_id] = time.monotonic() + self._avoid_s
            self._log.error(events.CONTACT_REFUSED, contact=name_of(contact_id), reason=str(error))

    def discard(self, contact_id: object) -> None:
        self._until.pop(contact_id, None)

    def ids(self) -> list[Any]:
        if self._until:
            now = time.monotonic()
            self._until = {contact: until for contact, until in self._until.items() if until > now}
        return list(self._until)


class Reader:
    """Reads what is sent of contacts that are claimed already. Raises as Database.fetch does, but no RowRefusedError, and no
    TooSlowError either.
    """

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        email: str,
        fields: Mapping[str, str],
        writers: Mapping[str, Form] = MappingProxyType({}),
    ) -> None:
        """variables: those of the statements; the others as in `crm_sync.table.contacts`."""
        self._database = database
        self._writers = writers
        self._names = tuple(fields)
        self._read = render("read_contacts", {**variables, "mapped": ",\n    ".join([email, *fields.values()])})
        self._read_one = {
            name: render("read_contacts", {**variables, "mapped": expression})
            for name, expression in {"email": email, **fields}.items()
        }

    async def read(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """Halved where the mapping fails or takes too long, until those that it fails for stand alone."""
        patience_s = self._database.patience_s if len(contacts) == 1 else self._database.patience_s * SHARE_OF_SEVERAL
        try:
            rows = await self._database.fetch_within(patience_s, self._read, [contact.id for contact in contacts], token)
        except (RowRefusedError, TooSlowError) as error:
            if len(contacts) == 1:
                return Claimed([], [(contacts[0], await self._why_unreadable(contacts[0], error))])
            middle = len(contacts) // 2
            halves = [await self.read(half, token) for half in (contacts[:middle], contacts[middle:])]
            return Claimed([one for half in halves for one in half.contacts], [one for half in halves for one in half.unreadable])
        # Who is missing was deleted since.
        values = {row[0]: row[1:] for row in rows}
        return written([self._filled(one, values[one.id]) for one in contacts if one.id in values], self._writers)

    async def _why_unreadable(self, contact: Contact, error: DatabaseTroubleError) -> str:
        patience_s = self._database.patience_s * SHARE_OF_SEVERAL
        for name, statement in self._read_one.items():
            try:
                await self._database.fetch_within(patience_s, statement, [contact.id], contact.token)
            except TooSlowError:
                return f"{name}: it takes longer than {patience_s:.1f} s for this contact"
            except RowRefusedError as of_this:
                return f"{name}: {of_this}"
        return str(error)

    def _filled(self, contact: Contact, values: Sequence[Any]) -> Contact:
        return contact._replace(email=values[0], fields=dict(zip(self._names, values[1:], strict=True)))

"""Contacts without an id in their row are found by the field in MAUTIC_MATCH, before they are searched by address. Those that
have no address are known by it. Of those with an id it is looked up whether another record has their value: Mautic would merge
that one into theirs, or the other way round.

Mautic's database enforces no unique values; it only marks fields as identifiers, by which it would match itself. So a value that
several records have is ambiguous here, too. So is one that differs only in accents, which the database ignores. [mautic/mautic:
LeadField, isUniqueIdentifer, as it was spelled until 4.x; utf8mb4_unicode_ci]
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.documents import plain_text
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.remote_schema import RemoteSchema
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.mautic.answers import value_of
from crm_sync.crm.mautic.lookup import Lookup
from crm_sync.crm.mautic.matching import duplicate, holds, holds_key, key, parts, record_id
from crm_sync.crm.mautic.storage import is_zero
from crm_sync.errors import RefusedError

_IDENTIFIER = ("isUniqueIdentifier", "isUniqueIdentifer")


class Identified(NamedTuple):
    """What was found by the values of contacts. contacts: those with an address have the ids of the records that were found.
    holders: records by key, of all values. refused: by place, why it cannot be said which record is meant, or why that must not
    be written. records: as shown.
    """

    contacts: Sequence[Contact]
    holders: Mapping[str, Sequence[int]]
    refused: Mapping[int, Outcome]
    records: Sequence[Mapping[str, Any]]


class FieldMatch:
    """field: its alias."""

    def __init__(self, field: str, lookup: Lookup) -> None:
        self._field = field
        self._lookup = lookup
        self.several = f"{field}: several records of Mautic have this value"
        self.without_address = (
            f"add one to the row, or a value of {field}, by which Mautic knows a contact (not 0, which it takes for empty), and "
            f"queue it again"
        )

    def key(self, contact: Contact) -> str | None:
        """The identity of a contact without an address; None if its value identifies nobody."""
        value = self._value(contact)
        return key(self._field, value) if value and not is_zero(contact.fields[self._field]) else None

    def is_own(self, identity: str) -> bool:
        """Whether it is such a key, and Mautic can be searched for it."""
        return holds_key(identity) and identity.startswith(f"{self._field} ")

    async def identified(self, contacts: Sequence[Contact], identities: Sequence[str], *, whole: bool = False) -> Identified:
        """identities: of each contact. whole: the records are shown with everything. Raises as a lookup does."""
        keys: dict[int, str] = {}
        for place, (contact, identity) in enumerate(zip(contacts, identities, strict=True)):
            if self.is_own(identity):
                keys[place] = identity
            elif holds(identity) and (value := self._value(contact)):
                keys[place] = key(self._field, value)
        records = await self.records(keys.values(), whole=whole)
        holders = self.holders(records)
        refused = self._similar(keys, contacts, holders)
        addressed = {place: known_by for place, known_by in keys.items() if known_by != identities[place]}
        existing = await self._existing(addressed, contacts, holders)
        found = [*contacts]
        for place, known_by in addressed.items():
            step = self._matched(record_id(contacts[place].remote_id), holders.get(known_by, ()), existing)
            if isinstance(step, Outcome):
                refused.setdefault(place, step)
            elif step is not None:
                found[place] = contacts[place]._replace(remote_id=str(step))
        return Identified(found, holders, refused, records)

    def _similar(
        self, keys: Mapping[int, str], contacts: Sequence[Contact], holders: Mapping[str, Sequence[int]]
    ) -> dict[int, Outcome]:
        """Those whose value no record has, but for accents. Not those whose own record has it."""
        similar: dict[str, set[int]] = {}
        for stranger in holders.keys() - set(keys.values()):
            similar.setdefault(_without_accents(stranger), set()).update(holders[stranger])
        if not similar:
            return {}
        reason = f"{self._field}: a record of Mautic has a value that differs only in accents, which Mautic ignores"
        return {
            place: Outcome.rejected(Code.AMBIGUOUS, reason)
            for place, known_by in keys.items()
            if known_by not in holders and similar.get(_without_accents(known_by), set()) - {record_id(contacts[place].remote_id)}
        }

    async def _existing(
        self, addressed: Mapping[int, str], contacts: Sequence[Contact], holders: Mapping[str, Sequence[int]]
    ) -> set[int]:
        """Of the records in the rows of contacts whose value others have, those that exist."""
        mine = {place: record_id(contacts[place].remote_id) for place in addressed}
        held = {place: holders.get(known_by, ()) for place, known_by in addressed.items()}
        asked = {record for place, record in mine.items() if record is not None and held[place] and record not in held[place]}
        there = {int(record["id"]) for record in await self._lookup.with_ids(sorted(asked))}
        return there | {record for place, record in mine.items() if record is not None and record in held[place]}

    def _matched(self, mine: int | None, held: Sequence[int], existing: Collection[int]) -> int | Outcome | None:
        """The record of a contact with an address, by those that have its value. mine: the one that its row names. None if they
        do not decide.
        """
        others = [record for record in held if record != mine]
        if mine in existing:
            return duplicate(self._field, "this value", others, mine) if others else None
        if len(held) > 1:
            return Outcome.rejected(Code.AMBIGUOUS, f"{self.several}: {', '.join(map(str, held))}")
        return held[0] if held else None

    async def records(self, keys: Iterable[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """The records with these keys. Raises as a lookup does."""
        values = {known_by[1] for known_by in map(parts, keys) if known_by}
        return await self._lookup.with_values(self._field, sorted(map(_quoted, values)), whole=whole)

    def holders(self, records: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
        """Of these records the ids, by key."""
        held: dict[str, list[int]] = {}
        for record in records:
            held.setdefault(self.key_of(record), []).append(int(record["id"]))
        return held

    def key_of(self, record: Mapping[str, Any]) -> str:
        return key(self._field, value_of(record, self._field))

    def require_unique(self, schema: RemoteSchema) -> None:
        """Raises RefusedError if Mautic has no such field, or it is not marked as an identifier."""
        field = schema.fields.get(self._field)
        if field is None or not any(field.shown.get(name) for name in _IDENTIFIER):
            raise RefusedError(
                Code.MISCONFIGURED,
                f"MAUTIC_MATCH names {self._field}, which is no unique identifier in Mautic: make it one under Custom Fields, or"
                " match by another",
            )

    def assumptions(self, contact: Contact, further: Sequence[Assumption]) -> Sequence[Assumption]:
        """further: the assumptions for a contact with an address whose value no record has, or none but its own."""
        if not self._value(contact):
            return further
        nobody = Said(200, {"total": "0", "contacts": {}})
        words = f", and no{' other' if contact.remote_id else 'ne'} has its {self._field}"
        return [Assumption(one.words + words, [nobody, *one.answers]) for one in further]

    def _value(self, contact: Contact) -> str:
        """The form in which values are compared. Empty if it has none."""
        return plain_text(contact.fields[self._field]).lower() if self._field in contact.filled else ""


def _without_accents(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)).casefold()


def _quoted(value: str) -> str:
    """In a list that is read as CSV."""
    return '"' + value.replace('"', '""') + '"' if any(one in value for one in ',"\n') else value

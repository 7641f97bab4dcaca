"""Contacts without an id in their row are found by the field in MAUTIC_MATCH, before they are searched by address.

Mautic's database enforces no unique values; it only marks fields as identifiers, by which it would match itself. So a value that
several records have is ambiguous here, too. [mautic/mautic: LeadField, isUniqueIdentifer, as it was spelled until 4.x]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.documents import plain_text
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.remote_schema import RemoteSchema
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.mautic.lookup import Lookup
from crm_sync.errors import RefusedError

_IDENTIFIER = ("isUniqueIdentifier", "isUniqueIdentifer")


class FieldMatch:
    """field: its alias."""

    def __init__(self, field: str, lookup: Lookup) -> None:
        self._field = field
        self._lookup = lookup

    async def identified(self, contacts: Sequence[Contact]) -> tuple[list[Contact], dict[int, Outcome]]:
        """The contacts, with the ids of the records that have their values; and by place those of which several have it.

        Raises as a search does.
        """
        keys = {place: key for place, contact in enumerate(contacts) if not contact.remote_id and (key := self._key(contact))}
        holders: dict[str, list[str]] = {}
        for record in await self._lookup.with_values(self._field, sorted(map(_quoted, {*keys.values()}))):
            holders.setdefault(_held(record, self._field), []).append(str(record["id"]))
        found = [*contacts]
        ambiguous = {}
        for place, key in keys.items():
            held = holders.get(key, [])
            if len(held) == 1:
                found[place] = contacts[place]._replace(remote_id=held[0])
            elif held:
                reason = f"{self._field}: several records of Mautic have this value: {', '.join(held)}"
                ambiguous[place] = Outcome.rejected(Code.AMBIGUOUS, reason)
        return found, ambiguous

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
        """further: the assumptions for a contact whose value no record has."""
        if contact.remote_id or not self._key(contact):
            return further
        nobody = Said(200, {"total": "0", "contacts": {}})
        words = f", and none has its {self._field}"
        return [Assumption(one.words + words, [nobody, *one.answers]) for one in further]

    def _key(self, contact: Contact) -> str:
        """The form in which values are compared. Empty if it has none."""
        return plain_text(contact.fields[self._field]).lower() if self._field in contact.filled else ""


def _held(record: Mapping[str, Any], field: str) -> str:
    groups = record.get("fields")
    members = [group[field] for group in groups.values() if field in group] if isinstance(groups, dict) else []
    values = [member.get("value") if isinstance(member, dict) else member for member in members]
    return next((plain_text(value).lower() for value in values if value is not None), "")


def _quoted(value: str) -> str:
    """In a list that is read as CSV."""
    return '"' + value.replace('"', '""') + '"' if any(one in value for one in ',"\n') else value

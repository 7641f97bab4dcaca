"""Which record is a contact's, for `crm-sync match`, and what Mautic holds of it, for `crm-sync compare`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.client import Found, Held, Record
from crm_sync.crm.mautic.answers import email
from crm_sync.crm.mautic.field_match import FieldMatch
from crm_sync.crm.mautic.lookup import Lookup, holders
from crm_sync.crm.mautic.matching import holds, record_id
from crm_sync.crm.values import MAUTIC
from crm_sync.errors import OutageError


async def read(
    lookup: Lookup, match: FieldMatch | None, contacts: Sequence[Contact], identities: Sequence[str], names: Sequence[str]
) -> list[Held]:
    """One search by id, and one by address, or by key, for those whose id is gone. identities: of each contact."""
    ids = [record_id(contact.remote_id) for contact in contacts]
    found = await lookup.with_ids([record for record in dict.fromkeys(ids) if record], whole=True)
    by_id = {int(record["id"]): record for record in found}
    others = [identity for record, identity in zip(ids, identities, strict=True) if record not in by_id]
    by_identity: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in await lookup.with_addresses([identity for identity in others if holds(identity)], whole=True):
        by_identity[email(record) or ""].append(record)
    if match is not None:
        for record in await match.records(filter(match.is_own, others), whole=True):
            by_identity[match.key_of(record)].append(record)
    return [
        _record(by_id[record], names) if record in by_id else _only_record(by_identity.get(identity, ()), names)
        for record, identity in zip(ids, identities, strict=True)
    ]


async def located(
    lookup: Lookup, match: FieldMatch | None, contacts: Sequence[Contact], identities: Sequence[str]
) -> Sequence[Found]:
    """By the field of MAUTIC_MATCH, and those that no record was found for by address. A search each, at most."""
    known = None if match is None else await match.identified(contacts, identities)
    found: dict[int, Found] = {}
    for place, identity in enumerate(identities):
        if known is not None and place in known.refused:
            found[place] = known.refused[place]
        elif known is not None and (record := known.contacts[place].remote_id):
            found[place] = record
        elif known is not None and match is not None and match.is_own(identity):
            found[place] = only(known.holders.get(identity, ()), match.several)
    others = [identity for place, identity in enumerate(identities) if place not in found and holds(identity)]
    held = holders(await lookup.with_addresses(others))
    return [found[place] if place in found else only(held.get(identity, ())) for place, identity in enumerate(identities)]


def only(held: Sequence[int], has: str = "email: several records of Mautic have this address") -> Found:
    """The record that was found by an address. has: what several records have, in words."""
    if len(held) > 1:
        records = ", ".join(map(str, held))
        return Outcome.rejected(Code.AMBIGUOUS, f"{has}: {records}")
    return str(held[0]) if held else None


def _only_record(held: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Held:
    several = only([int(record["id"]) for record in held])
    return several if isinstance(several, Outcome) else _record(held[0], names) if held else None


def _record(record: Mapping[str, Any], names: Sequence[str]) -> Held:
    groups = record.get("fields")
    values = groups.get("all") if isinstance(groups, dict) else None
    if not isinstance(values, dict):
        return OutageError(Code.BROKEN_ANSWER, "Mautic answered a search with a contact without its fields")
    known_by = email(record)
    return Record(frozenset({known_by} if known_by else ()), _values(record, values, names))


def _values(record: Mapping[str, Any], fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """By the names of the mapping; without a member that the record does not show."""
    members = {name: MAUTIC.member(name) for name in names}
    return {
        name: fields.get(name) if member is None else record[member]
        for name, member in members.items()
        if member is None or member in record
    }

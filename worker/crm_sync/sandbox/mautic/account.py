"""The contacts of a fake Mautic and how it matches, merges and writes them.

As read in mautic/mautic at 4.4.13 and 5.1.1: LeadModel, LeadApiController, CustomFieldsApiControllerTrait. From its issues: that
an address loses doubled dots too [#7963]. Guesses: the message for a refused value, and what a deleted record looks like.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crm_sync.sandbox.mautic.values import collated, is_zero, problem_with, stored_form

NOT_FOUND = "Item was not found."
DENIED = "You do not have access to the requested area/action."
CONTACTABLE, UNSUBSCRIBED, MANUAL = 0, 1, 3  # reasons of doNotContact [DoNotContact]; the last if none is given
# Alias and type of the fields of every installation, all in the group "core" here.
CORE_FIELDS = {
    **dict.fromkeys(("title", "firstname", "lastname", "company", "position"), "text"),
    "email": "email",
    **dict.fromkeys(("mobile", "phone", "fax"), "tel"),
    "points": "number",
    **dict.fromkeys(("address1", "address2", "city", "state", "zipcode", "country"), "text"),
    **dict.fromkeys(("preferred_locale", "timezone", "website"), "text"),
}

_WHERE = re.compile(r"where\[([^]]+)]\[(col|expr|val)]")


@dataclass(slots=True)
class Contact:
    """values: by alias. written: the time of the last write, as a count of writes: if two records are merged, the newer one's
    values are kept.
    """

    id: int
    values: dict[str, Any]
    added: datetime
    written: int = 0
    tags: set[str] = field(default_factory=set)
    closed: dict[str, int] = field(default_factory=dict)  # channels by which it must not be contacted, with the reason of each


class ItemError(Exception):
    """Why a contact is not written. details: the problems of each field, as the form finds them; None if no form was involved."""

    def __init__(self, code: int, message: str, details: dict[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class MauticAccount:
    """fields: alias and type; more can be added. options: for fields that have some. unpublished: fields that are shown but
    cannot be written. denied_ids: records that the API's user may not edit. closed_segments: those that are not published, or
    that its role may not see.

    identifiers: the fields that Mautic matches by. matches_all: only a record with all identifiers of an item is matched, instead
    of one with any of them, which is the default [contact_unique_identifiers_operator].

    version: decides what becomes of an edit of a record that shares an identifier with another one: 4.x merges the two, 5.0 and
    later refuse it with 422. hidden: records that are not committed yet from the perspective of the current request.
    """

    def __init__(self) -> None:
        self.fields = dict(CORE_FIELDS)
        self.options: dict[str, list[str]] = {}
        self.unpublished: set[str] = set()
        self.identifiers = {"email"}
        self.matches_all = False
        self.contacts: dict[int, Contact] = {}
        self.denied_ids: set[int] = set()
        self.segments: dict[int, set[int]] = {}
        self.closed_segments: set[int] = set()
        self.version = "5.1.1"
        self.hidden = range(0)
        self.last_id = 0
        self._writes = 0
        self._by_address: defaultdict[str, set[int]] = defaultdict(set)

    @property
    def merges_taken(self) -> bool:
        return int(self.version.partition(".")[0]) < 5

    def match(self, item: Mapping[str, Any], but: Contact | None = None) -> Contact | None:
        """The newest of the records with this item's identifiers. Without any, an item matches nothing."""
        found = [one for one in self._having(self._identifying(item)) if one is not but]
        return max(found, key=lambda contact: (contact.added, contact.id), default=None)

    def _identifying(self, item: Mapping[str, Any]) -> dict[str, str]:
        """The identifiers of an item, as they would be stored, but for those that PHP takes for empty: 0 too [LeadModel,
        checkForDuplicateContact].
        """
        aliases = sorted(self.identifiers - self.unpublished)
        stored = {alias: stored_form(self.fields[alias], item.get(alias)) for alias in aliases}
        return {alias: str(value) for alias, value in stored.items() if value and value != "0"}

    def _having(self, identifiers: Mapping[str, str]) -> list[Contact]:
        """The records with any of these identifiers, or with all. [LeadRepository, getLeadsByUniqueFields]"""
        found = [{one.id for one in self.find(alias, [value])} for alias, value in identifiers.items()]
        ids = (set.intersection if self.matches_all else set.union)(*found) if found else set()
        return [self.contacts[one] for one in sorted(ids)]

    def find(self, column: str, values: Collection[str]) -> list[Contact]:
        """Records with one of these values, as the database compares them. Empty ones are NULL, which equals nothing."""
        if column == "email":
            ids: Iterable[int] = {one for value in values if value for one in self._by_address.get(value.lower(), ())}
        elif column == "id":
            ids = {int(value) for value in values if value.isdecimal()}
        else:
            kind = self.fields.get(column, "text")
            wanted = {collated(kind, value) for value in values if value}
            having = [one for one in self.contacts.values() if one.values.get(column) not in (None, "")]
            ids = [one.id for one in having if collated(kind, one.values[column]) in wanted]
        return [self.contacts[one] for one in sorted(ids) if one in self.contacts and one not in self.hidden]

    def with_id(self, identifier: object) -> Contact | None:
        """The record with this id, if it is one."""
        return next(iter(self.find("id", [str(identifier)])), None)

    def search(self, query: Mapping[str, str]) -> list[Contact]:
        """`where[0][col]=email&where[0][expr]=in&where[0][val]=a,b`, where the value is read as CSV; several conditions must all
        match.
        """
        clauses: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for key, value in query.items():
            if named := _WHERE.fullmatch(key):
                clauses[named[1]][named[2]] = value
        found = list(self.contacts.values())
        for number, clause in enumerate(clauses.values()):
            value = clause.get("val", "")
            fits = self.find(clause.get("col", ""), next(csv.reader([value])) if clause.get("expr") == "in" else [value])
            found = fits if number == 0 else [one for one in found if one in fits]
        return found

    def add(self, item: Mapping[str, Any]) -> tuple[Contact, bool]:
        """POST: writes the record with these identifiers, or a new one. Returns whether it is new."""
        found = self.match(item)
        if found is not None:
            return self.edit(found, item), False
        return self.create(item), True

    def create(self, item: Mapping[str, Any]) -> Contact:
        """A new record, even if others have its identifiers: what PUT does with an unknown id."""
        self._check(item)
        self.last_id += 1
        contact = Contact(self.last_id, dict.fromkeys(self.fields), datetime.now(UTC))
        self.contacts[contact.id] = contact
        self._apply(contact, item, blank=False)
        return contact

    def edit(self, contact: Contact, item: Mapping[str, Any], *, put: bool = False) -> Contact:
        """Returns the record that was written: of two that are merged, the one that is left. put: fields that the item does not
        name are blanked.
        """
        if contact.id in self.denied_ids:
            raise ItemError(403, DENIED)
        self._check(item)
        blanks = dict.fromkeys(self.fields) if put else {}
        known = self._known(contact, item)
        if self.merges_taken:  # it looks for others by the record's own identifiers too [LeadModel, checkForDuplicateContact]
            other = self.match(known, but=contact)
        else:
            self._refuse_taken(contact, known)
            other = self.match(item)
        written = self._merged(contact, other)
        self._apply(written, {**blanks, **item}, blank=put or bool(item.get("overwriteWithBlank")), zeros=put)
        return written

    def delete(self, contact: Contact) -> None:
        del self.contacts[contact.id]
        self._by_address[_address(contact)].discard(contact.id)

    def _check(self, item: Mapping[str, Any]) -> None:
        problems = {alias: problem for alias, kind in self.fields.items() if (problem := problem_with(kind, item.get(alias)))}
        if problems:
            message = ", ".join(f"{alias}: {problem}" for alias, problem in problems.items())
            raise ItemError(400, message, {alias: [problem] for alias, problem in problems.items()})

    def _known(self, contact: Contact, item: Mapping[str, Any]) -> dict[str, Any]:
        """The identifiers of a record as an edit leaves them: those that the item does not name are the record's."""
        return {alias: item.get(alias) or contact.values.get(alias) for alias in self.identifiers}

    def _refuse_taken(self, contact: Contact, known: Mapping[str, Any]) -> None:
        """Even if the identifier stays the same: the form knows it from the record. [UniqueCustomFieldValidator, since 5.0]"""
        identifiers = self._identifying(known)
        groups = [identifiers] if self.matches_all else [{alias: value} for alias, value in identifiers.items()]
        taken = [alias for group in groups if self._having(group) not in ([], [contact]) for alias in group]
        if taken:
            problem = "This field must be unique."
            message = ", ".join(f"{alias}: {problem}" for alias in taken)
            raise ItemError(422, message, {alias: [problem] for alias in taken})

    def _merged(self, contact: Contact, other: Contact | None) -> Contact:
        """Of the two one is left: the edited one, or up to 4.x the older one. It has the values of the one written last, and over
        them those of the edited one, which are in its form. [ContactMerger; LegacyLeadModel, mergeLeads;
        EntityFieldsBuildFormTrait]
        """
        if other is None or other is contact:
            return contact
        keeps_other = self.merges_taken and (other.added, other.id) < (contact.added, contact.id)
        winner, loser = (other, contact) if keeps_other else (contact, other)
        newer, older = (loser, winner) if loser.written > winner.written else (winner, loser)
        form = {alias: value for alias, value in contact.values.items() if value not in (None, "")}
        self.delete(loser)
        self._set(winner, {alias: newer.values.get(alias) or older.values.get(alias) for alias in self.fields} | form)
        return winner

    def _apply(self, contact: Contact, item: Mapping[str, Any], *, blank: bool, zeros: bool = False) -> None:
        """Fields that the item does not name are kept. blank: empty values overwrite. zeros: 0 is a value."""
        values = {}
        for alias, kind in self.fields.items():
            value = stored_form(kind, item.get(alias))
            if (
                alias in item
                and alias not in self.unpublished
                and (value or blank or (zeros and value == 0))
                and (zeros or not is_zero(value))
            ):
                values[alias] = value
        self._set(contact, values)
        for tag in item.get("tags") or []:
            contact.tags.discard(tag[1:]) if tag.startswith("-") else contact.tags.add(tag)
        for one in item.get("doNotContact") or []:
            reason = int(one.get("reason", MANUAL))
            channel = one.get("channel", "email")
            if reason == CONTACTABLE:
                contact.closed.pop(channel, None)
            elif contact.closed.get(channel) != UNSUBSCRIBED:  # what the person has said stays [DoNotContact, addDncForContact]
                contact.closed[channel] = reason

    def _set(self, contact: Contact, values: Mapping[str, Any]) -> None:
        self._by_address[_address(contact)].discard(contact.id)
        contact.values.update(values)
        self._by_address[_address(contact)].add(contact.id)
        self._writes += 1
        contact.written = self._writes


def _address(contact: Contact) -> str:
    return str(contact.values.get("email") or "").lower()

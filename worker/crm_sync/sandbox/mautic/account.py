"""The contacts of a fake Mautic and how it matches, merges and writes them.

As read in mautic/mautic at 4.4.13 and 5.1.1: LeadModel, LeadApiController, CustomFieldsApiControllerTrait. From its issues: that
an address loses doubled dots too [#7963]. Guesses: the message for a refused value, and what a deleted record looks like.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 191
CONTACTABLE, MANUAL = 0, 3  # reasons of doNotContact [DoNotContact]; the latter if none is given
# Alias and type of the fields of every installation, all in the group "core" here.
CORE_FIELDS = {
    **dict.fromkeys(("title", "firstname", "lastname", "company", "position"), "text"),
    "email": "email",
    **dict.fromkeys(("mobile", "phone", "fax"), "tel"),
    "points": "number",
    **dict.fromkeys(("address1", "address2", "city", "state", "zipcode", "country"), "text"),
    **dict.fromkeys(("preferred_locale", "timezone", "website"), "text"),
}

_TAKEN_OUT = re.compile(r"[^A-Za-z0-9!#$%&'*+\-=?^_`{|}~@.\[\]]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_WHERE = re.compile(r"where\[([^]]+)]\[(col|expr|val)]")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.IGNORECASE)


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
    cannot be written. identifiers: the fields that Mautic matches by. matches_all: only a record with all of an item's identifiers
    is matched, instead of one with any of them, which is the default [contact_unique_identifiers_operator]. denied_ids: records
    that the API's user may not edit.

    refuses_taken: an edit of a record with an identifier that belongs to another one is refused with 422 (5.0 and later) instead
    of merging the two (4.x). hidden: records that are not committed yet from the perspective of the current request.
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
        self.refuses_taken = False
        self.hidden = range(0)
        self.last_id = 0
        self._writes = 0
        self._by_address: defaultdict[str, set[int]] = defaultdict(set)

    def match(self, item: Mapping[str, Any]) -> Contact | None:
        """The newest of the records with this item's identifiers. Without any, an item matches nothing."""
        return max(self._having(self._identifying(item)), key=lambda contact: (contact.added, contact.id), default=None)

    def _identifying(self, item: Mapping[str, Any]) -> dict[str, str]:
        """The identifiers of an item, as they would be stored, but for those that PHP takes for empty: 0 too [LeadModel,
        checkForDuplicateContact].
        """
        aliases = sorted(self.identifiers - self.unpublished)
        stored = {alias: _stored(self.fields[alias], item.get(alias)) for alias in aliases}
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
            wanted = {_collated(kind, value) for value in values if value}
            having = [one for one in self.contacts.values() if one.values.get(column) not in (None, "")]
            ids = [one.id for one in having if _collated(kind, one.values[column]) in wanted]
        return [self.contacts[one] for one in sorted(ids) if one in self.contacts and one not in self.hidden]

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
            self.edit(found, item)
            return found, False
        return self.create(item), True

    def create(self, item: Mapping[str, Any]) -> Contact:
        """A new record, even if others have its identifiers: what PUT does with an unknown id."""
        self._check(item)
        self.last_id += 1
        contact = Contact(self.last_id, dict.fromkeys(self.fields), datetime.now(UTC))
        self.contacts[contact.id] = contact
        self._apply(contact, item, blank=False)
        return contact

    def edit(self, contact: Contact, item: Mapping[str, Any], *, put: bool = False) -> None:
        """put: fields that the item does not name are blanked."""
        if contact.id in self.denied_ids:
            raise ItemError(403, "You do not have access to the requested area/action.")
        self._check(item)
        self._refuse_taken(contact, item)
        other = self.match(item)
        if other is not None and other is not contact:
            self._merge(contact, other)
        blanks = dict.fromkeys(self.fields) if put else {}
        self._apply(contact, {**blanks, **item}, blank=put or bool(item.get("overwriteWithBlank")), zeros=put)

    def delete(self, contact: Contact) -> None:
        del self.contacts[contact.id]
        self._by_address[_address(contact)].discard(contact.id)

    def _check(self, item: Mapping[str, Any]) -> None:
        problems = {alias: problem for alias, kind in self.fields.items() if (problem := _problem(kind, item.get(alias)))}
        if problems:
            message = ", ".join(f"{alias}: {problem}" for alias, problem in problems.items())
            raise ItemError(400, message, {alias: [problem] for alias, problem in problems.items()})

    def _refuse_taken(self, contact: Contact, item: Mapping[str, Any]) -> None:
        """Even if the identifier stays the same: the form knows it from the record. [UniqueCustomFieldValidator]"""
        if not self.refuses_taken:
            return
        known = {alias: item.get(alias) or contact.values.get(alias) for alias in self.identifiers}
        identifiers = self._identifying(known)
        groups = [identifiers] if self.matches_all else [{alias: value} for alias, value in identifiers.items()]
        taken = [alias for group in groups if self._having(group) not in ([], [contact]) for alias in group]
        if taken:
            problem = "This field must be unique."
            message = ", ".join(f"{alias}: {problem}" for alias in taken)
            raise ItemError(422, message, {alias: [problem] for alias in taken})

    def _merge(self, winner: Contact, loser: Contact) -> None:
        """One of the two is left: the edited one, with the values of the one written last, and those that only one has."""
        newer, older = (loser, winner) if loser.written > winner.written else (winner, loser)
        self.delete(loser)
        self._set(winner, {alias: newer.values.get(alias) or older.values.get(alias) for alias in self.fields})

    def _apply(self, contact: Contact, item: Mapping[str, Any], *, blank: bool, zeros: bool = False) -> None:
        """Fields that the item does not name are kept. blank: empty values overwrite. zeros: 0 is a value."""
        values = {}
        for alias, kind in self.fields.items():
            value = _stored(kind, item.get(alias))
            if (
                alias in item
                and alias not in self.unpublished
                and (value or blank or (zeros and value == 0))
                and (zeros or not _is_zero(value))
            ):
                values[alias] = value
        self._set(contact, values)
        for tag in item.get("tags") or []:
            contact.tags.discard(tag[1:]) if tag.startswith("-") else contact.tags.add(tag)
        for one in item.get("doNotContact") or []:
            reason = int(one.get("reason", MANUAL))
            if reason == CONTACTABLE:
                contact.closed.pop(one.get("channel", "email"), None)
            else:
                contact.closed[one.get("channel", "email")] = reason

    def _set(self, contact: Contact, values: Mapping[str, Any]) -> None:
        self._by_address[_address(contact)].discard(contact.id)
        contact.values.update(values)
        self._by_address[_address(contact)].add(contact.id)
        self._writes += 1
        contact.written = self._writes


def shown_fields(account: MauticAccount) -> list[dict[str, Any]]:
    """As the API shows them [LeadField, loadApiMetadata]."""
    return [
        {
            "isPublished": alias not in account.unpublished,
            "id": number,
            "label": alias.capitalize(),
            "alias": alias,
            "type": kind,
            "group": "core",
            "order": number,
            "object": "lead",
            "defaultValue": None,
            "isRequired": False,
            "isPubliclyUpdatable": False,
            "isUniqueIdentifier": alias in account.identifiers,
            "properties": {"list": [{"label": one.capitalize(), "value": one} for one in account.options.get(alias, ())]},
        }
        for number, (alias, kind) in enumerate(account.fields.items(), 1)
    ]


def cleaned(value: object) -> str:
    """An address as it is matched and stored."""
    return re.sub(r"\.{2,}", ".", _TAKEN_OUT.sub("", str(value)))[:254]


def _address(contact: Contact) -> str:
    return str(contact.values.get("email") or "").lower()


def _collated(kind: str, value: Any) -> Any:
    """What is equal to the database: of texts, what differs only in case, accents and blanks at its end [utf8mb4_unicode_ci]."""
    if kind == "number":
        return float(value) if _is_number(value) else value
    letters = unicodedata.normalize("NFKD", str(value))
    return "".join(one for one in letters if not unicodedata.combining(one)).casefold().rstrip(" ")


def _problem(kind: str, value: object) -> str | None:
    if value in (None, ""):
        return None
    if kind == "email" and _EMAIL.fullmatch(cleaned(value)) is None:
        return f"{value} is invalid."
    if kind == "number" and not _is_number(value):
        return "This value is not valid."
    if kind == "text" and len(str(value)) > LONGEST_TEXT:
        return f"This value is too long. It should have {LONGEST_TEXT} characters or less."
    return None


def _stored(kind: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return "|".join(map(str, value))
    if kind == "email":
        return cleaned(value)
    if isinstance(value, bool):
        return int(value)
    return float(value) if kind == "number" else str(value)


def _is_number(value: object) -> bool:
    return _NUMBER.fullmatch(str(value)) is not None


def _is_zero(value: object) -> bool:
    """What POST and PATCH take for empty: any number whose integer part is 0."""
    return value is not None and _is_number(value) and abs(float(str(value))) < 1


def details(contact: Contact, fields: Mapping[str, str]) -> dict[str, Any]:
    """A record as the API shows it."""
    core = {
        alias: {
            "id": str(number),
            "label": alias.capitalize(),
            "alias": alias,
            "type": kind,
            "group": "core",
            "value": contact.values.get(alias),
            "normalizedValue": contact.values.get(alias),
        }
        for number, (alias, kind) in enumerate(fields.items(), 1)
    }
    values = {alias: contact.values.get(alias) for alias in fields}
    return {
        "isPublished": True,
        "dateAdded": contact.added.isoformat(timespec="seconds"),
        "id": contact.id,
        "points": int(contact.values.get("points") or 0),
        "color": None,
        "fields": {"core": core, "social": [], "personal": [], "professional": [], "all": {"id": contact.id, **values}},
        "owner": None,
        "ipAddresses": [],
        "tags": [{"id": number, "tag": tag} for number, tag in enumerate(sorted(contact.tags), 1)],
        "stage": None,
        "doNotContact": [
            {"id": number, "reason": reason, "comments": "", "channel": channel, "channelId": None}
            for number, (channel, reason) in enumerate(contact.closed.items(), 1)
        ],
    }

"""The contacts of a fake HubSpot account and the rules they follow.

They are HubSpot's documented rules if there are any, otherwise what others captured or measured, otherwise a guess marked as
such. The changes of a request are planned for all its inputs before any is made, so that a refused one changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from crm_sync.sandbox.addresses import is_email
from crm_sync.sandbox.hubspot.errors import HubSpotError, InvalidError, RequiredError, non_unique, taken
from crm_sync.sandbox.hubspot.values import Property, Type

STAGE = "lifecyclestage"
# Only forward through these [HubSpot, contacts guide].
STAGES = (
    *("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead"),
    *("opportunity", "customer", "evangelist", "other"),
)
WRITABLE = (
    *("email", "firstname", "lastname", "phone", "mobilephone", "company", "jobtitle", "website", "address", "city", "state"),
    *("zip", "country", STAGE, "hs_lead_status", "hubspot_owner_id", "hs_language"),
)
READ_ONLY = ("hs_object_id", "createdate", "lastmodifieddate", "hs_additional_emails")
STRING = Property()
FIRST_ID = 101


@dataclass(slots=True)
class Contact:
    """properties: those that were ever set, with an empty text for cleared ones. emails: the additional ones."""

    id: str
    created: str
    modified: str
    properties: dict[str, str] = field(default_factory=dict)
    emails: list[str] = field(default_factory=list)

    def value(self, name: str) -> str | None:
        if (found := self.properties.get(name)) is not None:
            return found
        match name:
            case "hs_object_id":
                return self.id
            case "createdate":
                return self.created
            case "lastmodifieddate":
                return self.modified
            case "hs_additional_emails":
                return ";".join(self.emails) or None
        return None


class Write(NamedTuple):
    """A change that passed all checks. contact: None for a new one."""

    contact: Contact | None
    values: Mapping[str, str]


class HubSpotAccount:
    """writable: the properties that can be set, to which custom properties can be added. types: of those that are not strings.

    required: for every new contact. conditional: by a property and its value, what is required then. Both apply if enforces is
    set, which depends on the version of the API.
    """

    def __init__(self, portal: int = 123) -> None:
        self.portal = portal
        self.writable = set(WRITABLE)
        self.types = {STAGE: Property("enumeration", STAGES)}
        self.required: set[str] = set()
        self.conditional: dict[tuple[str, str], str] = {}
        self.enforces = False
        self.contacts: dict[str, Contact] = {}
        self.archived: dict[str, Contact] = {}  # not found by anything, but can be restored
        self.blocked: set[str] = set()  # addresses that no contact may have again
        self.merged: dict[str, str] = {}  # the id of a record that no longer exists -> the one it was merged into
        self.lists: dict[int, set[str]] = {}  # the ids of their records
        self.dynamic_lists: set[int] = set()  # that no request changes
        self.subscriptions: set[int] = set()  # the types that exist
        self.needs_legal_basis = False  # whether the account's data privacy settings are on
        self.out_of_all: set[str] = set()  # addresses
        self.statuses: dict[tuple[str, int], str] = {}  # by address and type
        self._owners: dict[str, str] = {}
        self._last_id = FIRST_ID - 1

    def define(self, name: str, type_: Type, options: Sequence[str] = (), *, is_unique: bool = False) -> None:
        """A custom property."""
        self.writable.add(name)
        self.types[name] = Property(type_, options, is_unique)

    def find(self, key: str, by: str | None) -> Contact | None:
        """by: the property whose value the key is; None for a record id. Raises HubSpotError if its values are not unique."""
        if by is None:
            return self.by_id(key)
        if by == "email":
            return self.by_email(key)
        if not self.is_unique(by):
            raise non_unique(by)
        return self.by_value(by, key)

    def is_unique(self, name: str) -> bool:
        """Whether it is a custom property with unique values."""
        return self.types.get(name, STRING).is_unique

    def by_email(self, email: str) -> Contact | None:
        """By the primary or an additional address."""
        return self.contacts.get(self._owners.get(email.strip().lower(), ""))

    def by_value(self, name: str, value: str) -> Contact | None:
        """By a property with unique values. That case counts is a guess."""
        return next((one for one in self.contacts.values() if one.properties.get(name) == value), None)

    def by_id(self, record_id: str) -> Contact | None:
        """For a merged record, the one it was merged into: a guess for reading, but not for updates."""
        return self.contacts.get(self.merged.get(record_id, record_id))

    def plan(self, contact: Contact | None, values: Mapping[str, str], claimed: dict[str, Contact | None]) -> Write:
        """claimed: addresses taken by earlier inputs of the same request. Raises HubSpotError."""
        values = {**values}
        if problems := self._problems(values):
            raise InvalidError(problems)
        if self.enforces and (missing := self._missing(contact, values)):
            raise RequiredError(missing)
        if email := values.get("email", "").strip().lower():
            values["email"] = email
            if email in self.blocked:  # the message is a guess
                raise HubSpotError(400, "VALIDATION_ERROR", "This address was permanently deleted and cannot be used again")
            owner = self.by_email(email)
            if owner is not None and owner is not contact:
                raise taken(self.portal, email, _id(contact), owner.id)
            if email in claimed and (contact is None or claimed[email] is not contact):
                raise taken(self.portal, email, _id(contact), _id(claimed[email]))
            claimed[email] = contact
        for name in [name for name in values if self.is_unique(name) and values[name]]:
            owner = self.by_value(name, values[name])
            if owner is not None and owner is not contact:
                raise taken(self.portal, values[name], (contact or owner).id, owner.id, name)
        if not email and contact is None and not (values.get("firstname") or values.get("lastname")):
            raise HubSpotError(
                400, "VALIDATION_ERROR", "At least one of email, firstname or lastname is needed"
            )  # the message is a guess
        return Write(contact, values)

    def apply(self, write: Write) -> Contact:
        moment = now()
        contact = write.contact
        if contact is None:
            self._last_id += 1
            contact = self.contacts[str(self._last_id)] = Contact(str(self._last_id), moment, moment)
        for name, value in write.values.items():
            if name == "email":
                self._set_email(contact, value)
            elif name != STAGE or _moves_forward(contact.properties.get(STAGE), value):
                contact.properties[name] = value
        contact.modified = moment
        return contact

    def add_email(self, contact_id: str, email: str) -> None:
        """Gives a contact an additional address, as people do in HubSpot's interface."""
        self.contacts[contact_id].emails.append(email.lower())
        self._owners[email.lower()] = contact_id

    def merge(self, contact_id: str, into: str) -> None:
        """Removes one record; its addresses become additional ones of the other."""
        gone = self.contacts.pop(contact_id)
        self.merged[contact_id] = into
        for email in filter(None, [gone.properties.get("email"), *gone.emails]):
            self.add_email(into, email)

    def archive(self, contact: Contact) -> None:
        """It can be restored for 90 days. An upsert does not restore it, but creates a new record."""
        self.erase(contact)
        self.archived[contact.id] = contact

    def erase(self, contact: Contact) -> None:
        """Permanently."""
        del self.contacts[contact.id]
        for email in [contact.properties.get("email", ""), *contact.emails]:
            self._owners.pop(email, None)

    def _set_email(self, contact: Contact, email: str) -> None:
        """An additional address becomes the primary one, and the primary one additional: a guess. A new address replaces it."""
        old = contact.properties.get("email", "")
        if old == email:
            return
        if email in contact.emails:
            contact.emails[contact.emails.index(email)] = old
        else:
            self._owners.pop(old, None)
        contact.properties["email"] = email
        if email:
            self._owners[email] = contact.id

    def _missing(self, contact: Contact | None, values: Mapping[str, str]) -> dict[str, str | None]:
        """That a rule also looks at the contact's existing values is a guess."""
        now_ = {**(contact.properties if contact else {}), **values}
        wanted = dict.fromkeys(sorted(self.required) if contact is None else ())
        wanted |= {name: why for (why, value), name in self.conditional.items() if now_.get(why) == value}
        return {name: why for name, why in wanted.items() if not now_.get(name)}

    def _problems(self, values: Mapping[str, str]) -> list[dict[str, Any]]:
        found = []
        for name, value in values.items():
            if name in self.writable and name not in self.types and name != "email" and name not in READ_ONLY:
                continue  # any text
            if name in READ_ONLY:
                problem = f'"{name}" is a read only property; its value cannot be set.', "READ_ONLY_VALUE"
            elif name not in self.writable:
                problem = f'Property "{name}" does not exist', "PROPERTY_DOESNT_EXIST"
            elif name == "email" and value and not is_email(value.strip().lower()):
                problem = f"Email address {value} is invalid", "INVALID_EMAIL"
            elif found_wrong := self.types.get(name, STRING).problem(value):
                problem = found_wrong
            else:
                continue
            found.append({"isValid": False, "message": problem[0], "error": problem[1], "name": name})
        return found


def _id(contact: Contact | None) -> str | None:
    return contact.id if contact else None


def _moves_forward(old: str | None, new: str) -> bool:
    """It can be cleared at any time."""
    return not old or not new or STAGES.index(new) >= STAGES.index(old)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

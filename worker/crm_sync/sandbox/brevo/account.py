"""The contacts of a fake Brevo account and the rules they follow.

They are Brevo's published rules if there are any, otherwise what its users report. A refused request changes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crm_sync.sandbox.brevo.errors import BrevoError, invalid
from crm_sync.sandbox.brevo.values import FITS, AttributeKind, AttributeValue, flag, unique_value, valid_email

DEFAULT_ATTRIBUTES = (
    "FIRSTNAME",
    "LASTNAME",
    "SMS",
    "EXT_ID",
    "LANDLINE_NUMBER",
    "WHATSAPP",
    "JOB_TITLE",
    "LINKEDIN",
    "CONTACT_TIMEZONE",
)
# Attributes that must be unique, under their names in `duplicate_identifiers`.
UNIQUE = ("email", "EXT_ID", "SMS", "WHATSAPP", "LANDLINE_NUMBER")
# Identifiers that find the contact of a POST; the first one given counts.
FINDS_A_CONTACT = ("email", "EXT_ID", "SMS")
IDENTIFIER_TYPES = {
    "email_id": "email",
    "ext_id": "EXT_ID",
    "phone_id": "SMS",
    "whatsapp_id": "WHATSAPP",
    "landline_number_id": "LANDLINE_NUMBER",
}

PLACEHOLDER = "mailin-sms.com"  # the domain of the address that Brevo gives to a contact that has only a phone number


@dataclass(slots=True)
class Contact:
    id: int
    email: str | None
    attributes: dict[str, AttributeValue]
    list_ids: set[int]
    created: datetime
    modified: datetime
    is_blocklisted: bool = False
    is_sms_blocklisted: bool = False


@dataclass(slots=True)
class Change:
    """What a request asks for, validated. unique: the values of UNIQUE, which are also among the attributes.

    is_blocklisted, is_sms_blocklisted: None if the request does not say.
    """

    unique: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    list_ids: set[int] = field(default_factory=set)
    unlink_list_ids: set[int] = field(default_factory=set)
    is_blocklisted: bool | None = None
    is_sms_blocklisted: bool | None = None


class BrevoAccount:
    """organization: its id. attributes, list_ids: those of the account. options: for attributes that have some. calculated:
    attributes that Brevo computes.

    Guesses: the message for a list that does not exist; that POST and PUT ignore an attribute the account does not have, as the
    import does; that listIds adds to a contact's lists, as documented: in 2018 it was reported to replace them; that choices of
    which it lacks one are ignored as a whole.

    takes_labels: an option of a category is accepted by its label too, not only by its number. In 2021 the label was reported to
    be ignored [sendinblue/APIv3-python-library #65].

    duplicate_code: Brevo sends `duplicate_parameter`, and since about May 2026 also `invalid_parameter`. placeholders: a contact
    with a phone number and no address is shown with an address made of its number, by which it is also found (reported by users
    of its API; whether it is always so is not known).
    """

    def __init__(self, list_ids: Collection[int] = ()) -> None:
        self.organization = "sandbox"
        self.attributes: dict[str, AttributeKind] = dict.fromkeys(DEFAULT_ATTRIBUTES, "text")
        self.options: dict[str, list[str]] = {}
        self.calculated = {"BLACKLIST": "global", "READERS": "global", "CLICKERS": "global"}  # by their category
        self.list_ids = set(list_ids)
        self.takes_labels = False
        self.duplicate_code = "duplicate_parameter"
        self.placeholders = True
        self.contacts: dict[int, Contact] = {}
        self._owners: dict[tuple[str, object], int] = {}
        self._last_id = 0

    def save(self, body: dict[str, Any]) -> tuple[Contact, bool]:
        """Creates a contact, or with updateEnabled updates it. Returns the contact and whether it is new."""
        change = self._read(body)
        if "email" in body:
            change.unique["email"] = valid_email(body["email"])
        found_by = next((name for name in FINDS_A_CONTACT if change.unique.get(name)), None)
        if found_by is None:
            raise BrevoError(400, "missing_parameter", "email, ext_id or SMS is missing")
        owner = self._owners.get((found_by, change.unique[found_by]))
        contact = self.contacts[owner] if owner and body.get("updateEnabled") is True else None
        self._refuse_duplicates(change, contact)
        is_new = contact is None
        if contact is None:
            now = datetime.now(UTC)
            self._last_id += 1
            contact = self.contacts[self._last_id] = Contact(self._last_id, None, {}, set(), now, now)
        self._apply(contact, change)
        return contact, is_new

    def update(self, contact: Contact, body: dict[str, Any]) -> None:
        change = self._read(body)
        if "EMAIL" in body.get("attributes", {}):
            change.unique["email"] = valid_email(body["attributes"]["EMAIL"])
            if change.is_blocklisted is None:
                # Documented for an address that is updated. It is not documented whether sending the same one again is such an
                # update, nor that the request's own emailBlacklisted prevails: here the former is the worse of the two cases, the
                # latter a guess.
                change.is_blocklisted = False
        self._refuse_duplicates(change, contact)
        if change.unique.get("SMS") == "" and contact.attributes.get("SMS") and not change.unique.get("email", contact.email):
            # Documented (changelog of 2020-04-29), unlike the message.
            raise invalid("SMS cannot be removed from a contact without a valid email address")
        self._apply(contact, change)

    def shown_attributes(self) -> list[dict[str, Any]]:
        """As `GET /contacts/attributes` lists them."""
        shown: list[dict[str, Any]] = [
            {"name": name, "category": category, "calculatedValue": "COUNT[X]"} for name, category in self.calculated.items()
        ]
        for name, kind in self.attributes.items():
            options = self.options.get(name, [])
            if kind == "category":
                values = [{"value": n, "valueStr": str(n), "label": label} for n, label in enumerate(options, 1)]
                shown.append({"name": name, "category": "category", "enumeration": values})
            else:
                choices = {"multiCategoryOptions": options} if kind == "multiple-choice" else {}
                shown.append({"name": name, "category": "normal", "type": kind, **choices})
        return shown

    def find(self, identifier: str, identifier_type: str | None) -> Contact:
        """Without a type, only email addresses and ids are understood."""
        if identifier_type is None:
            identifier_type = "contact_id" if identifier.isdecimal() else "email_id"
        if identifier_type == "contact_id" and identifier.isdecimal():
            owner: int | None = int(identifier)
        elif identifier_type in IDENTIFIER_TYPES:
            name = IDENTIFIER_TYPES[identifier_type]
            number, _, domain = identifier.rpartition("@")
            if name == "email" and domain == PLACEHOLDER and self.placeholders:
                name, identifier = "SMS", number
            owner = self._owners.get((name, unique_value(name, identifier)))
        else:
            raise invalid("Invalid identifier or identifierType")
        if owner not in self.contacts:
            raise BrevoError(404, "document_not_found", "Contact does not exist")
        return self.contacts[owner]

    def shown_email(self, contact: Contact) -> str | None:
        number = contact.attributes.get("SMS")
        return contact.email or (f"{number}@{PLACEHOLDER}" if number and self.placeholders else None)

    def delete(self, contact: Contact) -> None:
        del self.contacts[contact.id]
        for name in UNIQUE:
            self._owners.pop((name, _held(contact, name)), None)

    def _read(self, body: dict[str, Any]) -> Change:
        change = Change(list_ids=self._lists(body, "listIds"), unlink_list_ids=self._lists(body, "unlinkListIds"))
        attributes = body.get("attributes", {})
        if not isinstance(attributes, dict):
            raise invalid("attributes should be type object")
        change.is_blocklisted = flag(body, "emailBlacklisted")
        change.is_sms_blocklisted = flag(body, "smsBlacklisted")
        for name, value in attributes.items():
            if value is None or isinstance(value, dict):
                raise invalid(f"attributes/{name} should be type number, string, boolean or array")
            if self._takes(name, value):
                change.attributes[name] = value
        if "ext_id" in body:
            if not isinstance(body["ext_id"], str):
                raise invalid("ext_id should be type string")
            change.attributes["EXT_ID"] = body["ext_id"]
        for name in UNIQUE:
            value = change.attributes.get(name)
            if isinstance(value, str):
                # An empty text removes the attribute.
                change.unique[name] = change.attributes[name] = value and unique_value(name, value)
        return change

    def _takes(self, name: str, value: Any) -> bool:
        """Whether the account accepts the value, or ignores it."""
        fits = FITS.get(self.attributes.get(name))
        if fits is None or not fits(value):
            return False
        options = self.options.get(name, [])
        match self.attributes[name]:
            case "category":
                return value in range(1, len(options) + 1) or (self.takes_labels and value in options)
            case "multiple-choice":
                return not options or set(value) <= set(options)
        return True

    def _lists(self, body: dict[str, Any], name: str) -> set[int]:
        ids = body.get(name, [])
        if not isinstance(ids, list):
            raise invalid(f"{name} should be type array")
        for position, list_id in enumerate(ids):
            if type(list_id) is not int:
                raise invalid(f"{name}/{position} should be type number")
            if list_id not in self.list_ids:
                raise invalid(f"List {list_id} does not exist")
        return set(ids)

    def _refuse_duplicates(self, change: Change, contact: Contact | None) -> None:
        allowed = (None, contact.id if contact else None)
        taken = [name for name in UNIQUE if self._owners.get((name, change.unique.get(name))) not in allowed]
        if taken:
            verb = "update" if contact else "create"
            subject = f"{' or '.join(taken)} {'is' if len(taken) == 1 else 'are'}"
            message = f"Unable to {verb} contact, {subject} already associated with another Contact"
            raise BrevoError(400, self.duplicate_code, message, {"duplicate_identifiers": taken})

    def _apply(self, contact: Contact, change: Change) -> None:
        for name, value in change.unique.items():
            self._owners.pop((name, _held(contact, name)), None)
            if value:
                self._owners[name, value] = contact.id
        contact.email = change.unique.get("email", contact.email)
        for name, new in change.attributes.items():
            if new == "":
                contact.attributes.pop(name, None)
            else:
                contact.attributes[name] = new
        contact.list_ids = (contact.list_ids | change.list_ids) - change.unlink_list_ids
        if change.is_blocklisted is not None:
            contact.is_blocklisted = change.is_blocklisted
        if change.is_sms_blocklisted is not None:
            contact.is_sms_blocklisted = change.is_sms_blocklisted
        contact.modified = datetime.now(UTC)


def _held(contact: Contact, name: str) -> object:
    return contact.email if name == "email" else contact.attributes.get(name)

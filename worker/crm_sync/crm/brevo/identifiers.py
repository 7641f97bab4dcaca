"""What a contact is known by in Brevo: its address; or if it has none, its ext_id or its phone number.

A phone number may be a family's or a company's, and overwriting another person's contact is worse than not sending one. So it
identifies only if BREVO_PHONE_ONLY says so, only contacts without an address, and only among contacts of Brevo without one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from crm_sync.core.outcome import Contact

EXT_ID, PHONE, PHONE_KIND = "EXT_ID", "SMS", "phone_id"
# Of the address that Brevo shows for a contact with a phone number and none: 33639980001@mailin-sms.com. [reported by users]
_PLACEHOLDER = "@mailin-sms.com"
_ID = re.compile(r"[1-9][0-9]{0,18}")
# Brevo's form is 6 to 19 digits, with the country code first, after +, 00 or nothing [Brevo, "accepted number formats"]. Its
# changelog of 2020-04-29 also has +44 (0)7771234567 and +1 (206) 123-4567.
_BETWEEN_DIGITS = re.compile(r"\(0\)|[\s().-]")
_NUMBER = re.compile(r"(?:\+|00)?([1-9][0-9]{5,18})")


class Identifier(NamedTuple):
    """name: what it is sent as. kind: Brevo's name for it in a lookup. value: without whitespace around it; a number's digits."""

    name: str
    kind: str
    value: str

    @property
    def words(self) -> str:
        return {"email": "address", EXT_ID: "ext_id"}.get(self.name, "phone number")


@dataclass(frozen=True, slots=True)
class Identifiers:
    """by_ext_id: a contact is looked up by its ext_id, if it has one. by_phone: a contact without an address is by its number."""

    by_ext_id: bool = False
    by_phone: bool = False

    def of(self, email: str, fields: Mapping[str, Any]) -> list[Identifier]:
        """In the order of the lookups; a new contact is known by the last. fields: what is sent, by names in capitals."""
        found = []
        if self.by_ext_id and (ext_id := _ext_id(fields.get(EXT_ID))):
            found.append(Identifier(EXT_ID, "ext_id", ext_id))
        if email:
            found.append(Identifier("email", "email_id", email))
        elif self.by_phone and not found and (number := digits(fields.get(PHONE))):
            found.append(Identifier(PHONE, PHONE_KIND, number))
        return found

    @property
    def fields(self) -> frozenset[str]:
        """Those that it takes besides the address."""
        return frozenset(name for name, used in ((EXT_ID, self.by_ext_id), (PHONE, self.by_phone)) if used)

    def key(self, contact: Contact) -> str | None:
        """What identifies a contact without an address. Its id comes last, because another row of the person may have none."""
        found = self.of("", {name.upper(): value for name, value in contact.filled.items()})
        if found:
            return f"{found[-1].name} {found[-1].value}"
        return f"contact {contact.remote_id}" if is_id(contact.remote_id) else None

    def ext_id(self, contact: Contact) -> str | None:
        """As key returns it. A contact with an address is not known by its number, which may be a family's."""
        if not self.by_ext_id:
            return None
        values = (_ext_id(value) for name, value in contact.filled.items() if name.upper() == EXT_ID)
        return next((f"{EXT_ID} {value}" for value in values if value), None)

    @property
    def without_address(self) -> str:
        """What to do about a contact that has none of them."""
        ways = ["an EXT_ID"] if self.by_ext_id else []
        ways += ["a phone number with its country code (SMS)"] if self.by_phone else []
        if ways:
            return f"add {', '.join(['one', *ways[:-1]])} or {ways[-1]} to the row, and queue it again"
        return "add one to the row, and queue it again; BREVO_MATCH=ext_id or BREVO_PHONE_ONLY=true sends contacts without one"


def real_address(email: Any) -> str | None:
    """The address that Brevo shows, unless it is made of the number."""
    return email if isinstance(email, str) and email and not email.strip().lower().endswith(_PLACEHOLDER) else None


def digits(number: Any) -> str | None:
    """Of a phone number with its country code: the form in which Brevo keeps and compares it. None if it is not one."""
    match = _NUMBER.fullmatch(_BETWEEN_DIGITS.sub("", str(number)))
    return match and match[1]


def without_signs(number: Any) -> Any:
    """A phone number with + or 00 before its country code, without the signs between its digits, of which Brevo documents none.
    Anything else as it is: it may be a number of one country only.
    """
    if not isinstance(number, str) or not number.startswith(("+", "00")):
        return number
    bare = _BETWEEN_DIGITS.sub("", number)
    return bare if _NUMBER.fullmatch(bare) else number


def is_id(value: str | None) -> bool:
    """Whether it can be Brevo's id of a contact."""
    return _ID.fullmatch(value or "") is not None


def _ext_id(value: Any) -> str | None:
    """In a path, dots would mean another folder."""
    text = "" if value is None else str(value).strip()
    return None if text in ("", ".", "..") else text

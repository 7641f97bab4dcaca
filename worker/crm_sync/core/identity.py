"""Which contact is which: by the email address, checked before anything is sent, and folded where it is compared."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from crm_sync.core.outcome import Contact

LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1

# The pattern browsers use (WHATWG HTML, "valid e-mail address"), with letters of all scripts, and a dot in the domain: a CRM
# sends to the internet, not to a host beside it.
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"[\w.!#$%&'*+/=?^`{{|}}~-]+@(?:{_LABEL}\.)+{_LABEL}")


class Addressee(NamedTuple):
    """All claimed contacts with one address, of which one is sent. twins: the others, flipped earlier."""

    address: str
    contact: Contact
    twins: tuple[Contact, ...] = ()


def check_email(email: str | None) -> str | None:
    """Why this is no email address, in plain words, or None if it is one. Surrounding blanks are forgiven."""
    address = (email or "").strip()
    if not address:
        return "the contact has no email address"
    if len(address) > LONGEST_EMAIL:
        return f"the email address is longer than {LONGEST_EMAIL} characters"
    local_part = address.rpartition("@")[0]
    if _EMAIL.fullmatch(address) is None or local_part.startswith(".") or local_part.endswith(".") or ".." in local_part:
        return "the email address is malformed"
    if len(local_part) > LONGEST_LOCAL_PART:
        return f"the part before the @ of the email address is longer than {LONGEST_LOCAL_PART} characters"
    return None


def fold(email: str) -> str:
    """How addresses are compared: CRMs know no difference by case or surrounding blanks."""
    return email.strip().lower()


def addressees(contacts: Iterable[Contact]) -> list[Addressee]:
    """Contacts with valid addresses, one for each address: the one flipped last is sent.

    If it has no id in the CRM yet but a twin has, that record is meant.
    """
    found: dict[str, Addressee] = {}
    for contact in contacts:
        address = fold(contact.email or "")
        there = found.get(address)
        found[address] = Addressee(address, contact) if there is None else _with(there, contact)
    return list(found.values())


def _with(there: Addressee, contact: Contact) -> Addressee:
    earlier, later = sorted((there.contact, contact), key=lambda one: one.flipped_at)
    if not later.remote_id:
        later = later._replace(remote_id=earlier.remote_id)
    return Addressee(there.address, later, (*there.twins, earlier))

"""Which contact is which: by email address, checked before anything is sent, and folded for comparison."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from crm_sync.core.consent import Together
from crm_sync.core.domain import ascii_domain, find_invisible, readable_domain
from crm_sync.core.outcome import Contact

LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1

# The pattern browsers use (WHATWG HTML, "valid e-mail address"), with a dot in the domain, because a CRM sends to the internet,
# not to a neighbouring host. Before the @, letters of all scripts are allowed, with the marks that Indic and other scripts need.
_LABEL = r"[A-Za-z0-9](?:[\w-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}", re.ASCII)
_LOCAL_PART = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+")
# A quick test that most addresses pass.
_PLAIN = re.compile(rf"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@{_DOMAIN.pattern}", re.ASCII)
_MARKS = ("Mn", "Mc", "Cf")  # the last are joiners, because all others were already found to be invisible
_TOO_LONG = f"the part before the @ of the email address is longer than {LONGEST_LOCAL_PART} characters"


class KnownBy(Protocol):
    """Of a client, what says who a contact is. See `crm_sync.crm.client`."""

    matched_by: Collection[str]

    def key(self, contact: Contact) -> str | None: ...

    def also_known_by(self, contact: Contact) -> str | None: ...


class Addressee(NamedTuple):
    """All claimed contacts with one address, of which one is sent. twins: the others, flipped earlier, the latest last. keys:
    what else they are known by; other contacts can have the same.
    """

    address: str
    contact: Contact
    twins: tuple[Contact, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def identities(self) -> tuple[str, ...]:
        """None of them is in two requests at once."""
        return (self.address, *self.keys)


def check_email(email: str | None) -> str | None:
    """Why this is not an email address, in plain words, or None if it is one. Surrounding whitespace is allowed."""
    address = (email or "").strip()
    if not address:
        return "the contact has no email address"
    if len(address) > LONGEST_EMAIL:
        return f"the email address is longer than {LONGEST_EMAIL} characters"
    local_part, _, domain = address.rpartition("@")
    if _PLAIN.fullmatch(address) is not None:
        return None if len(local_part) <= LONGEST_LOCAL_PART else _TOO_LONG
    if not (address.isascii() and address.isprintable()) and (invisible := find_invisible(address)):
        place = invisible[0] + (email or "").index(address)  # counted as the database does, including whitespace
        return f"the email address has an invisible character, U+{ord(invisible[1]):04X}, at position {place}"
    if not _is_local_part(local_part) or _DOMAIN.fullmatch(ascii_domain(domain) or "") is None:
        return "the email address is malformed"
    return None if len(local_part) <= LONGEST_LOCAL_PART else _TOO_LONG


def _is_local_part(text: str) -> bool:
    letters = text if text.isascii() else "".join("x" if unicodedata.category(one) in _MARKS else one for one in text)
    return _LOCAL_PART.fullmatch(letters) is not None and not text.startswith(".") and not text.endswith(".") and ".." not in text


def fold(email: str) -> str:
    """The form in which addresses are compared: CRMs ignore case and surrounding whitespace, and for DNS, bücher.example and
    xn--bcher-kva.example are the same.
    """
    return email.strip().lower() if email.isascii() else with_ascii_domain(email).lower()


def spellings(email: str) -> list[str]:
    """How other rows may write the same address, apart from case and whitespace. For searches in SQL, which cannot fold."""
    folded = fold(email)
    local_part, _, domain = folded.rpartition("@")
    readable = readable_domain(domain)
    return [*dict.fromkeys((email.strip(), folded, *([f"{local_part}@{readable}"] if readable else [])))]


def with_ascii_domain(email: str) -> str:
    """The address without surrounding whitespace, with its domain in the DNS form. If that is not possible, the domain is
    unchanged.
    """
    address = email.strip()
    if address.isascii():
        return address
    local_part, at, domain = address.rpartition("@")
    return f"{local_part}@{ascii_domain(domain) or domain}" if at else address


def addressees(contacts: Iterable[Contact], together: Together | None = None, known: KnownBy | None = None) -> list[Addressee]:
    """Groups contacts with valid addresses by address: the one flipped last is sent. Those that have a key in common, and not the
    address, are in the order of their flips.

    If it has no id in the CRM yet but a twin has one, the twin's record is used. together: makes its fields from those of all.
    known: what contacts are known by besides their addresses.
    """
    found: dict[str, list[Contact]] = {}
    for contact in contacts:
        found.setdefault(fold(contact.email or "") or (known and known.key(contact)) or "", []).append(contact)
    people = [
        Addressee(address, those[0]) if len(those) == 1 else _of_several(address, those, together)
        for address, those in found.items()
    ]
    return people if known is None or not known.matched_by else _with_keys(people, known)


def _with_keys(people: Iterable[Addressee], known: KnownBy) -> list[Addressee]:
    found = []
    for one in people:
        keys = dict.fromkeys(key for contact in (one.contact, *one.twins) if (key := known.also_known_by(contact)) is not None)
        found.append(one._replace(keys=tuple(key for key in keys if key != one.address)))
    return sorted(found, key=lambda one: one.contact.flipped_at)


def _of_several(address: str, people: list[Contact], together: Together | None) -> Addressee:
    *twins, last = sorted(people, key=lambda one: one.flipped_at)
    if not last.remote_id:
        last = last._replace(remote_id=next((one.remote_id for one in reversed(twins) if one.remote_id), last.remote_id))
    if together is not None:
        last = last._replace(fields=together(last.fields, [twin.fields for twin in reversed(twins)]))
    return Addressee(address, last, tuple(twins))

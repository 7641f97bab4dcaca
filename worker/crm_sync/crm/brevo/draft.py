"""What is to be written of one contact, as it becomes clear what Brevo has of it and what it takes."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome, is_empty
from crm_sync.core.remote_schema import RemoteField
from crm_sync.crm.answer import Answer
from crm_sync.crm.brevo import likeness
from crm_sync.crm.brevo.identifiers import EXT_ID, PHONE, PHONE_KIND, Identifiers, is_id, real_address, without_signs
from crm_sync.crm.brevo.lists import JOINED, LEFT
from crm_sync.crm.brevo.refusals import SHARED
from crm_sync.crm.brevo.schema import fitted, misfit
from crm_sync.crm.values import BREVO


class There(NamedTuple):
    """A contact in Brevo. email: folded; None if it has none. attributes: those that have a value."""

    id: str
    email: str | None
    is_blocklisted: bool
    attributes: Mapping[str, Any] = MappingProxyType({})

    def held(self, names: Collection[str]) -> dict[str, Any]:
        """Those of these attributes that it has."""
        return {name: value for name, value in self.attributes.items() if name in names}


class Draft:
    """email: without white space around it; empty if there is none. members: what goes next to the attributes. identifiers: what
    it is looked up by besides its id; own: the one that a new contact is known by. left: attributes and members that are not
    sent, or not as a whole, and notes: why.
    """

    def __init__(
        self,
        contact: Contact,
        identifiers: Identifiers,
        if_empty: Collection[str] = (),
        known: Mapping[str, RemoteField] = MappingProxyType({}),
    ) -> None:
        """if_empty: the fields that are sent only where Brevo has no value. known: the attributes of the account; none if it has
        not said.
        """
        self.contact = contact
        self.email = (contact.email or "").strip()
        self.fields, self.members = _sent(contact.filled)
        self.fields |= {name: without_signs(value) for name, value in self.fields.items() if name in SHARED}
        self._known_by = identifiers
        self.identifiers = identifiers.of(self.email, self.fields)
        self.own = self.identifiers[-1] if self.identifiers else None
        if self.own is not None and self.own.name in self.fields:
            self.fields[self.own.name] = self.own.value  # in Brevo's form
        self.reserved = frozenset(name for name in map(str.upper, if_empty) if name in self.fields) if if_empty else frozenset()
        accepted = {name: fitted(known.get(name), value) for name, value in self.fields.items()}
        self.left = {name for name, value in accepted.items() if value is None}
        self.notes = [f"{name}: it was left out, because {misfit(known[name], self.fields[name])}" for name in sorted(self.left)]
        self.fields |= {name: value for name, value in accepted.items() if value is not None}
        self._known = known

    def others(self, there: There, kind: str) -> str | None:
        """What shows that a contact found by this kind of identifier may be another person, with the same phone number."""
        if kind != PHONE_KIND:
            return None
        return "an address" if there.email else "an ext_id" if self._known_by.by_ext_id and EXT_ID in there.attributes else None

    def leave(self, names: Collection[str], why: str) -> None:
        self.notes.append(f"{', '.join(sorted(names))}: it was left out, because Brevo said: {why}")
        self.left |= {*names}

    def leavable(self, refused: Collection[str], there: There | None) -> set[str]:
        """Those of the refused attributes that it can be sent without."""
        found = set(refused) & self.attributes(there).keys()
        return found - {self.own.name} if there is None and self.own is not None else found

    def attributes(self, there: There | None) -> dict[str, Any]:
        """To be written. Brevo removes a value when it gets an empty text. [Brevo, "Update a contact"]"""
        theirs = self._theirs(there)
        blank = {} if there is None else dict.fromkeys(sorted(there.held(self.emptied(there))), "")
        return blank | {name: value for name, value in self.fields.items() if name not in self.left and name not in theirs}

    def body(self, there: There | None, members: Mapping[str, Any], *, updates: bool) -> dict[str, Any]:
        """To be written: empty if the contact exists and nothing is known about it except its address. members: what goes next to
        the attributes. updates: whether a contact that was not found may be updated if it exists after all.
        """
        attributes = self.attributes(there)
        # A contact created since the lookup may have a value that must not be overwritten. If this one has no address, it may
        # even be another person, with the same number.
        updates = updates and bool(self.email) and not self.reserves(attributes)
        body: dict[str, Any] = {}
        if (ext_id := attributes.pop("EXT_ID", None)) is not None:
            body["ext_id"] = str(ext_id)
        if there is None:
            # Whether getId saves the lookup of the id, or is only for merges, is not documented; it does no harm.
            body |= {"email": self.email} if self.email else {}
            body |= {"updateEnabled": updates, "getId": True}
        elif self.email and there.email != fold(self.email):
            attributes["EMAIL"] = self.email
            if there.is_blocklisted:
                body["emailBlacklisted"] = True
        if attributes:
            body["attributes"] = attributes
        # The consent in the row takes precedence over the existing one.
        body |= {name: value for name, value in members.items() if name not in (JOINED, LEFT)}
        if members.get(JOINED):
            body[JOINED] = list(dict.fromkeys(members[JOINED]))
        # A POST cannot remove a contact from a list.
        if there is not None and members.get(LEFT):
            body[LEFT] = members[LEFT]
        return body

    def reserves(self, attributes: Mapping[str, Any]) -> bool:
        """Whether any of these may only be written where there is no value."""
        return not self.reserved.isdisjoint(attributes)

    def emptied(self, there: There | None) -> set[str]:
        """The attributes to be emptied: only of the record that the row names."""
        is_ours = there is None or self.contact.remote_id in (there.id, None)
        return {name.upper() for name in self.contact.emptied} - self._kept(there) if is_ours else set()

    def outcome(self, remote_id: str | None, there: There | None) -> Outcome:
        """there: as it was before."""
        theirs, kept = self._theirs(there), self._kept(there)
        left = self.left | theirs.keys() | kept
        notes = [*self.notes, *(f"{name}: Brevo keeps it for a contact that has no address" for name in kept)]
        names = (
            frozenset(name for name in self.contact.fields if (BREVO.member(name) or name.upper()) in left)
            if left
            else frozenset()
        )
        code = Code.FIELD_NOT_SENT if notes else None
        outcome = Outcome.delivered(remote_id, code, "; ".join(notes) or None, names)
        others = (name for name in self.contact.filled if self._is_other(name.upper(), theirs))
        return outcome._replace(theirs=frozenset(others)) if theirs else outcome

    def _kept(self, there: There | None) -> set[str]:
        """What cannot be emptied: the number of a contact without an address. [Brevo's changelog, 2020-04-29]"""
        if there is None or there.email or self.email or PHONE not in there.attributes:
            return set()
        return {PHONE} & {name.upper() for name in self.contact.emptied}

    def _theirs(self, there: There | None) -> dict[str, Any]:
        return {} if there is None or not self.reserved else there.held(self.reserved)

    def _is_other(self, name: str, held: Mapping[str, Any]) -> bool:
        return name in held and likeness.same(self._known.get(name), name, self.fields[name], held[name]) is not True


def _sent(filled: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is sent for the fields: attributes, and members next to them.

    Brevo does not accept null; empty fields stay unchanged there. Its names are upper-case, and it silently ignores others. The
    address is handled separately.
    """
    spelled = BREVO.members_among(filled)
    attributes = {name.upper(): value for name, value in filled.items() if name not in spelled}
    attributes.pop("EMAIL", None)
    return attributes, {member: filled[name] for name, member in spelled.items()}


def there_in(answer: Answer) -> There | None:
    """The contact in the answer to a lookup."""
    remote_id, email = id_in(answer), real_address(answer.get("email"))
    if remote_id is None:
        return None
    blocklisted = answer.get("emailBlacklisted") is True
    attributes = answer.get("attributes")
    held = attributes.items() if isinstance(attributes, dict) else ()
    filled = {name: value for name, value in held if not is_empty(value)}
    return There(remote_id, fold(email) if email else None, blocklisted, filled)


def id_in(answer: Answer) -> str | None:
    """The id in a success. Anything else with such a status is a login page, a proxy or a truncated answer."""
    value = answer.get("id") if answer.status in (200, 201) else None
    return str(value) if isinstance(value, int | str) and is_id(str(value)) else None

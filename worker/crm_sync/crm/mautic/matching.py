"""Which contact is written to which Mautic record: decided before anything is written, without I/O.

A contact that was delivered before has the record's id, which is right even if the address has changed since. Without an id, the
address decides if only one record has it; of a contact that has no address, its value of the field in MAUTIC_MATCH. Anything that
would need a guess is not written.

The identity of a contact is its folded address, or a key, which is no address because of the space: `app_id 7` by the value of a
field, or `id 5` by nothing but its record.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome

_ID = re.compile(r"[1-9][0-9]{0,18}")
# The characters that PHP's FILTER_SANITIZE_EMAIL leaves in an address, which is what Mautic matches and stores.
_HOLDABLE = re.compile(r"[A-Za-z0-9!#$%&'*+\-=?^_`{|}~@.\[\]]+")
# The characters of a value that Mautic stores unchanged, and that its database does not take for others: it ignores accents.
_KEEPABLE = re.compile(r"[ -%'-;=?-~]+")


@dataclass(frozen=True, slots=True)
class Edit:
    """moves: the record gets another address. left: fields that are not sent, because the record has a value; theirs: those
    of them whose value is another.
    """

    record: int
    moves: bool
    left: frozenset[str] = frozenset()
    theirs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class New:
    """A record that does not exist yet."""


Step = Edit | New | Outcome


def record_id(value: object) -> int | None:
    """A Mautic id, None if it is not one."""
    is_id = isinstance(value, int | str) and not isinstance(value, bool) and _ID.fullmatch(str(value))
    return int(str(value)) if is_id else None


def address(contact: Contact) -> str:
    return fold(contact.email or "")


def holds(folded: str) -> bool:
    """Whether Mautic stores the address unchanged. Otherwise it could become another person's: josé@ becomes jos@."""
    return _HOLDABLE.fullmatch(folded) is not None


def key(field: str, value: object) -> str:
    """The identity of a contact without an address, by its folded value of a field."""
    return f"{field} {value}"


def is_key(identity: str) -> bool:
    return " " in identity


def holds_key(identity: str) -> bool:
    """Whether this is a key, and Mautic stores its value unchanged."""
    return is_key(identity) and _KEEPABLE.fullmatch(identity) is not None


def parts(identity: str) -> tuple[str, str] | None:
    """The field and the value of a key; None of an address."""
    field, blank, value = identity.partition(" ")
    return (field, value) if blank else None


def disputed(contacts: Sequence[Contact], identities: Sequence[str], holders: Mapping[str, Sequence[int]]) -> list[int]:
    """The records of contacts whose address or key belongs to other records. It matters whether they still exist."""
    stored = [
        (record_id(contact.remote_id), holders.get(identity, ())) for contact, identity in zip(contacts, identities, strict=True)
    ]
    return [record for record, held in stored if record is not None and held and record not in held]


def plan(
    contacts: Sequence[Contact],
    identities: Sequence[str],
    holders: Mapping[str, Sequence[int]],
    existing: Collection[int],
    *,
    merges: bool,
) -> list[Step]:
    """A step for each contact, in order. identities: of each contact. holders: records by identity, as found.
    existing: those of the disputed records that exist. merges: an edit of one of several records with the same address or key
    merges two of them, whatever it changes.
    """
    claims = _claims(contacts, identities, holders)
    steps = [
        _step(record_id(contact.remote_id), identity, holders.get(identity, ()), claims, existing)
        for contact, identity in zip(contacts, identities, strict=True)
    ]
    if not merges:
        return steps
    return [_unless_merged(step, identity, holders) for step, identity in zip(steps, identities, strict=True)]


def _unless_merged(step: Step, identity: str, holders: Mapping[str, Sequence[int]]) -> Step:
    held = holders.get(identity, ())
    if not isinstance(step, Edit) or len(held) < 2 or step.record not in held:
        return step
    field, has = _named(identity)
    return duplicate(field, has, [record for record in held if record != step.record], step.record)


def duplicate(field: str, has: str, others: Sequence[int], mine: int | None) -> Outcome:
    """For a contact whose record is not the only one with its address or its value."""
    ids = ", ".join(map(str, others))
    return Outcome.rejected(Code.DUPLICATE, f"{field}: record {ids} of Mautic has {has}, this contact is record {mine}")


def _named(identity: str) -> tuple[str, str]:
    """The field that it is a value of, and what its record has, in words."""
    known_by = parts(identity)
    return ("email", "this address") if known_by is None else (known_by[0], "this value")


class _Claims(NamedTuple):
    """By record: the contact with an address that owns it, and the one that is written to it now. The same record twice in one
    request is an error 500.

    Two contacts can have one id if their records were merged. It goes to the one whose address the record has, else to the first;
    the other is delivered by its address. One without an address can be meant for the record of one that has an address, and
    comes after it.
    """

    owners: Mapping[int, str]
    written: Mapping[int, str]


def _claims(contacts: Sequence[Contact], identities: Sequence[str], holders: Mapping[str, Sequence[int]]) -> _Claims:
    home: dict[int, str] = {}
    moving: dict[int, str] = {}
    last: dict[int, str] = {}
    for contact, identity in zip(contacts, identities, strict=True):
        record, held = record_id(contact.remote_id), holders.get(identity, ())
        if record is not None and (record in held or not held):
            (last if is_key(identity) else home if record in held else moving).setdefault(record, identity)
        elif len(held) == 1:
            last.setdefault(held[0], identity)
    owners = moving | home
    return _Claims(owners, last | owners if last else owners)


def _step(mine: int | None, identity: str, held: Sequence[int], claims: _Claims, existing: Collection[int]) -> Step:
    """mine: the record that the row names."""
    if not holds(identity) and not holds_key(identity):
        return Outcome.rejected(Code.INVALID_EMAIL, _unusable(identity))
    if mine is not None and is_key(identity) and claims.written.get(mine, identity) != identity:
        return Outcome.failed(Code.LOCKED, f"record {mine} of Mautic is being written for another contact")
    if mine is not None and claims.owners.get(mine, identity) != identity:
        mine = None
    if mine is not None and (mine in held or not held):
        return _edit(mine, identity, held)
    if not held:
        return New()
    return _by_holder(mine, identity, held, claims, existing)


def _unusable(identity: str) -> str:
    """Why Mautic could take the contact for another one."""
    known_by = parts(identity)
    if known_by is None:
        return "email: Mautic would remove characters from this address, and so change it"
    return (
        f"the contact has no email address, and its {known_by[0]} has accents, which Mautic ignores, or characters that Mautic "
        f"changes, so it could be taken for another's: use ASCII letters and digits"
    )


def _edit(record: int, identity: str, held: Sequence[int]) -> Edit:
    known_by = parts(identity)
    if known_by is None:
        return Edit(record, moves=record not in held)
    # Where several records have the value, Mautic would merge one of them into this one.
    return Edit(record, moves=False, left=frozenset(known_by[:1] if len(held) > 1 else ()))


def _by_holder(mine: int | None, identity: str, held: Sequence[int], claims: _Claims, existing: Collection[int]) -> Step:
    """For a contact whose address or key belongs to records that are not known to be its own."""
    ids = ", ".join(map(str, held))
    field, has = _named(identity)
    if any(claims.written.get(record, identity) != identity for record in held):
        return Outcome.failed(Code.LOCKED, f"{field}: record {ids} of Mautic has {has}, and is being written for another contact")
    if mine in existing:
        return duplicate(field, has, held, mine)
    if len(held) > 1:
        return Outcome.rejected(Code.AMBIGUOUS, f"{field}: several records of Mautic have {has}: {ids}")
    return _edit(held[0], identity, held)

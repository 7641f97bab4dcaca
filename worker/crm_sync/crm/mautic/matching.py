"""Which contact is written to which Mautic record: decided before anything is written, without I/O.

A contact that was delivered before has the record's id, which is right even if the address has changed since. Without an id, the
address decides if only one record has it. Anything that would need a guess is not written.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome

_ID = re.compile(r"[1-9][0-9]{0,18}")
# The characters that PHP's FILTER_SANITIZE_EMAIL leaves in an address, which is what Mautic matches and stores.
_HOLDABLE = re.compile(r"[A-Za-z0-9!#$%&'*+\-=?^_`{|}~@.\[\]]+")


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


def is_holdable(contact: Contact) -> bool:
    return holds(address(contact))


def holds(folded: str) -> bool:
    """Whether Mautic stores the address unchanged. Otherwise it could become another person's: josé@ becomes jos@."""
    return _HOLDABLE.fullmatch(folded) is not None


def disputed(contacts: Iterable[Contact], holders: Mapping[str, Sequence[int]]) -> list[int]:
    """The records of contacts whose address belongs to other records. It matters whether they still exist."""
    stored = [(record_id(contact.remote_id), holders.get(address(contact), ())) for contact in contacts]
    return [record for record, held in stored if record is not None and held and record not in held]


def plan(contacts: Sequence[Contact], holders: Mapping[str, Sequence[int]], existing: Collection[int]) -> list[Step]:
    """A step for each contact, in order. holders: records by address, as found. existing: those of the disputed records that
    exist.
    """
    owners = _owners(contacts, holders)
    return [_step(contact, holders.get(address(contact), ()), owners, existing) for contact in contacts]


def _owners(contacts: Sequence[Contact], holders: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """By record: the address of the contact that owns it.

    Two contacts can have one id if their records were merged. It goes to the one whose address the record has, else to the first;
    the other is delivered by its address. The same record twice in one request is an error 500.
    """
    home: dict[int, str] = {}
    moving: dict[int, str] = {}
    for contact in contacts:
        record, held = record_id(contact.remote_id), holders.get(address(contact), ())
        if record is not None and (record in held or not held):
            (home if record in held else moving).setdefault(record, address(contact))
    return moving | home


def _step(contact: Contact, held: Sequence[int], owners: Mapping[int, str], existing: Collection[int]) -> Step:
    if not is_holdable(contact):
        reason = "email: Mautic would remove characters from this address, and so change it"
        return Outcome.rejected(Code.INVALID_EMAIL, reason)
    mine = record_id(contact.remote_id)
    if mine is not None and owners.get(mine, address(contact)) != address(contact):
        mine = None
    if mine is not None and (mine in held or not held):
        return Edit(mine, moves=mine not in held)
    if not held:
        return New()
    return _by_address(contact, mine, held, owners, existing)


def _by_address(
    contact: Contact, mine: int | None, held: Sequence[int], owners: Mapping[int, str], existing: Collection[int]
) -> Step:
    """For a contact whose address belongs to records that are not known to be its own."""
    ids = ", ".join(map(str, held))
    if any(owners.get(record, address(contact)) != address(contact) for record in held):
        return Outcome.failed(Code.LOCKED, f"email: record {ids} of Mautic still has this address, and is being given another")
    if mine in existing:
        return Outcome.rejected(Code.DUPLICATE, f"email: record {ids} of Mautic has this address, this contact is record {mine}")
    if len(held) > 1:
        return Outcome.rejected(Code.AMBIGUOUS, f"email: several records of Mautic have this address: {ids}")
    return Edit(held[0], moves=False)

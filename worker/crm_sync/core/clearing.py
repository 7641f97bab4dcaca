"""Which fields of a contact are emptied in a CRM: those that crm-sync wrote, and that are now empty in the row.

A number in the row (`brevo_sent_fields`) says which fields crm-sync wrote, one bit per field. It stays correct whatever happens,
because bits are set and cleared at different times:

    before a request    the bits of the fields to be sent are set: the worker may die, and the request still arrive
    with the finish     delivered: the bits of emptied fields are cleared
                        refused, or never sent: the bits set before the request are cleared
                        unknown: none are cleared

So if the outcome of a request is unknown, its fields count as written, because they would be if it had arrived. Nothing is
written before a request unless a bit has to be set, that is, for the first delivery of a field.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

COLUMN = "sent_fields"  # in the contacts table, after the CRM's name
MOST = 63  # fields of one CRM, ever: the number is a bigint, and its sign bit is not used
MARK = "\0sent"  # key of the number among the fields of a contact that was just read; no field can have this name


class Ending(NamedTuple):
    """How the end of a claim changes the number. gone: the bits to clear. landed: bits of fields that may have been written."""

    gone: int
    landed: int


class Sent(NamedTuple):
    """For one contact. before: the fields crm-sync wrote. now: the fields that have a value. bits: by field name.

    emptied: the fields to empty.
    """

    before: int
    now: int
    bits: Mapping[str, int]
    emptied: tuple[str, ...]

    @property
    def new(self) -> int:
        """The bits to set before the request."""
        return self.now & ~self.before

    def delivered(self, left: Collection[str] = (), theirs: Collection[str] = ()) -> Ending:
        """left: fields that are there as they were before. theirs: those of them that have somebody else's value: whatever
        crm-sync had put there is gone.
        """
        kept = self._of(left)
        emptied = self._of(self.emptied)
        return Ending((emptied & ~kept) | (self.new & kept) | self._of(theirs), self.now & ~kept)

    def _of(self, names: Collection[str]) -> int:
        bits = 0
        for name in names:
            bits |= self.bits.get(name, 0)
        return bits

    def unknown(self) -> Ending:
        """It may have arrived."""
        return Ending(0, self.now)

    def unsent(self) -> Ending:
        """It was refused, or never sent."""
        return Ending(self.new, 0)


def sent(number: int | None, fields: Mapping[str, Any], filled: Collection[str], bits: Mapping[str, int]) -> Sent:
    """number: as in the row. fields: all fields of the contact. filled: the names of those that have a value."""
    before = number or 0
    now = 0
    for name in filled:
        now |= bits.get(name, 0)
    gone = before & ~now
    emptied = tuple(name for name in fields if bits.get(name, 0) & gone) if gone else ()
    return Sent(before, now, bits, emptied)


def apart(sent_before: Sent | None) -> Sent | None:
    """For a contact sent without its record id: what was written to the old record does not matter for the new one."""
    return None if sent_before is None else sent_before._replace(emptied=())

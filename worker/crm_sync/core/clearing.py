"""Which fields of a contact are emptied in a CRM: those that crm-sync has put there, and that are empty in the row now.

A number in the row (`brevo_sent_fields`) says what crm-sync has put there, a bit for each field. It is right after whatever
happens, because bits come and go at different times:

    before a request    those of what is about to be sent come: for the worker may die in it, and the request still land
    with the finish     delivered: those of what is not there any more go. Refused, or never sent: those that have come. Unknown:
                        none

So where the request before is not known to have landed, its fields count as put there: had it landed, they would be. Before a
request nothing is written unless a bit comes: that is, for the first delivery of a field.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

COLUMN = "sent_fields"  # of the contacts table, after the CRM's name
MOST = 63  # fields of one CRM, over all time: the number is a bigint, and its sign is left alone
MARK = "\0sent"  # what the number is called among the fields of a contact that was just read; no field can be


class Ending(NamedTuple):
    """What becomes of the number by the end of a claim. gone: the bits that go. landed: those of what was put there, perhaps."""

    gone: int
    landed: int


class Sent(NamedTuple):
    """Of one contact. before: what crm-sync has put there. now: the fields that have a value. bits: of the fields, by name.

    emptied: the fields to be emptied.
    """

    before: int
    now: int
    bits: Mapping[str, int]
    emptied: tuple[str, ...]

    @property
    def new(self) -> int:
        """The bits that come before the request."""
        return self.now & ~self.before

    def delivered(self, left: Collection[str] = ()) -> Ending:
        """left: fields that are there as they were before."""
        kept = 0
        for name in left:
            kept |= self.bits.get(name, 0)
        emptied = 0
        for name in self.emptied:
            emptied |= self.bits[name]
        return Ending((emptied & ~kept) | (self.new & kept), self.now & ~kept)

    def unknown(self) -> Ending:
        """It may have landed."""
        return Ending(0, self.now)

    def unsent(self) -> Ending:
        """It was refused, or was never sent."""
        return Ending(self.new, 0)


def sent(number: int | None, fields: Mapping[str, Any], filled: Collection[str], bits: Mapping[str, int]) -> Sent:
    """number: as the row has it. fields: all of the contact; filled: the names of those that have a value."""
    before = number or 0
    now = 0
    for name in filled:
        now |= bits.get(name, 0)
    gone = before & ~now
    emptied = tuple(name for name in fields if bits.get(name, 0) & gone) if gone else ()
    return Sent(before, now, bits, emptied)


def apart(sent_before: Sent | None) -> Sent | None:
    """Of a contact that is sent without the record it has: what was put into that is no matter for another."""
    return None if sent_before is None else sent_before._replace(emptied=())

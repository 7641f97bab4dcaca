"""Which fields of a contact are emptied in a CRM: those that crm-sync wrote, and that are now empty in the row.

A number in the row (`brevo_sent_fields`) says which fields crm-sync wrote, one bit per field. It stays correct whatever happens,
because bits are set and cleared at different times:

    before a request    the bits of the fields to be sent are set: the worker may die, and the request still arrive
    with the finish     delivered: the bits of emptied fields are cleared
                        refused as a whole, or never sent: the bits set before the request are cleared
                        unknown (no answer, a broken one, a failure of the CRM): none are cleared

The number is about one record, the one whose id the row has (`brevo_sent_to`). If the application or `crm-sync match` has written
another id, none of it counts. If a delivery finds another record, only what this delivery wrote counts. A CRM without records
(n8n) answers each delivery with another id: there it counts whichever id comes back.

So if a request may have been stored, its fields count as written until a delivery settles that. Otherwise a value that did arrive
would stay there. What this can empty is a value that somebody has typed between a failed attempt and the next one. Nothing is
written before a request unless a bit has to be set, that is, for the first delivery of a field.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

COLUMN = "sent_fields"  # in the contacts table, after the CRM's name
RECORD_COLUMN = "sent_to"  # which record the number is about
ALL = -1  # every bit, and the sign: the row gets another record
MOST = 63  # fields of one CRM, ever: the number is a bigint, and its sign bit is not used
MARK = "\0sent"  # key of the number among the fields of a contact that was just read; no field can have this name


class Ending(NamedTuple):
    """How the end of a claim changes the number. gone: the bits to clear. landed: bits of fields that may have been written.
    emptied: those of gone whose fields were emptied; if the row was flipped again meanwhile, they stay, to be emptied once more.
    """

    gone: int
    landed: int
    emptied: int = 0


class Sent(NamedTuple):
    """For one contact. before: the fields crm-sync wrote. now: the fields that have a value. bits: by field name.

    emptied: the fields to empty. record: the id in its row; None if the CRM has no records.
    """

    before: int
    now: int
    bits: Mapping[str, int]
    emptied: tuple[str, ...]
    record: str | None = None

    @property
    def new(self) -> int:
        """The bits to set before the request."""
        return self.now & ~self.before

    def delivered(self, left: Collection[str] = (), theirs: Collection[str] = (), record: str | None = None) -> Ending:
        """left: fields that are there as they were before. theirs: those of them that have somebody else's value: whatever
        crm-sync had put there is gone. record: the one that was written; None if the CRM does not say.
        """
        kept = self._of(left)
        landed = self.now & ~kept
        if self._moves_to(record):
            return Ending(ALL & ~landed, landed)
        emptied = self._of(self.emptied) & ~kept
        return Ending(emptied | (self.new & kept) | self._of(theirs), landed, emptied)

    def _of(self, names: Collection[str]) -> int:
        bits = 0
        for name in names:
            bits |= self.bits.get(name, 0)
        return bits

    def unknown(self) -> Ending:
        """It may have arrived."""
        return Ending(0, self.now)

    def unsent(self, record: str | None = None) -> Ending:
        """It was refused, or never sent. record: the one that its row gets anyway."""
        return Ending(ALL if self._moves_to(record) else self.new, 0)

    def _moves_to(self, record: str | None) -> bool:
        """Whether the row gets another record instead of its own. What was written to its own is not in the other one."""
        return bool(record and self.record) and record != self.record


def sent(
    number: int | None, fields: Mapping[str, Any], filled: Collection[str], bits: Mapping[str, int], record: str | None = None
) -> Sent:
    """number: as in the row. fields: all fields of the contact. filled: names of those that have a value. record: as in Sent."""
    before = number or 0
    now = 0
    for name in filled:
        now |= bits.get(name, 0)
    gone = before & ~now
    emptied = tuple(name for name in fields if bits.get(name, 0) & gone) if gone else ()
    return Sent(before, now, bits, emptied, record)


def apart(sent_before: Sent | None) -> Sent | None:
    """For a contact sent without its record id: what was written to the old record does not matter for the new one."""
    return None if sent_before is None else sent_before._replace(emptied=())

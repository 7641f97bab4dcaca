"""The columns in which a row records which fields crm-sync has put into a CRM, and into which record. The rules are in
`crm_sync.core.clearing`.

A bit belongs to a field's name for good (`crm_sync.fields`), not to its place in the mapping, which people change. Where all bits
were used up and numbering has started again, the name of the record says so: what other numberings have written is not read.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from crm_sync.core import clearing
from crm_sync.core.clearing import COLUMN, MARK, MOST, RECORD_COLUMN
from crm_sync.core.outcome import Contact
from crm_sync.errors import ConfigurationError, RowRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.unreadable_rows import Claimed


@dataclass(frozen=True, slots=True)
class Clearing:
    """Of one CRM. bits: those of the fields to be cleared when the row has no value for them, by name. Without any, no statement
    reads or writes the columns. numbering: what the names of records begin with. keeps_records: as in Client; the ids of a CRM
    without records are those of its latest answers, so another one says nothing about what was sent.
    """

    crm: str
    bits: Mapping[str, int] = field(default_factory=dict)
    numbering: str = ""
    keeps_records: bool = True

    def __bool__(self) -> bool:
        return bool(self.bits)

    def variables(self, table: LaneTable) -> dict[str, str]:
        """Those of the statements."""
        return {**table.variables, "numbering": self.numbering}

    def column(self, table: LaneTable) -> dict[str, str]:
        """Read from the row in addition to its fields: the number, if it is about the record that the row has."""
        if not self.bits:
            return {}
        its = table.variables
        record = f"'{self.numbering}' || coalesce({its['remote_id']}::text, '')"
        return {MARK: f"CASE WHEN {its['sent_to']} = {record} THEN {its['sent_fields']} END"}

    def read(self, claimed: Claimed) -> Claimed:
        """The contacts, with the column's number moved from their fields to `sent`."""
        return claimed._replace(contacts=[self._read(one) for one in claimed.contacts]) if self.bits else claimed

    def _read(self, contact: Contact) -> Contact:
        number = contact.fields.pop(MARK, None)
        record = contact.remote_id if self.keeps_records else None
        return contact._replace(sent=clearing.sent(number, contact.fields, contact.filled, self.bits, record))


def column_of(crm: str) -> str:
    return f"{crm}_{COLUMN}"


def record_column_of(crm: str) -> str:
    return f"{crm}_{RECORD_COLUMN}"


async def read_clearing(
    database: Database, crm: str, names: Collection[str], *, numbering: bool, keeps_records: bool = True
) -> Clearing:
    """numbering: fields without a bit get one. Without it they are left out, because they were never sent. keeps_records: as in
    Clearing; it matters only where deliveries are finished.

    Raises ConfigurationError if there are more than MOST, and what Database.fetch raises.
    """
    if not names:
        return Clearing(crm)
    found = await _find(database, crm, names)
    if numbering and len(found.bits) < len(set(names)):
        await database.fetch(query("number_fields"), crm, list(names))
        found = await _find(database, crm, names)
        if len(found.bits) < len(set(names)):
            raise ConfigurationError(
                f"mapping of {crm}: a CRM can have {MOST} fields that are cleared, including earlier ones: set empty = "
                f'"keep" for some, or start over with `crm-sync clearing {crm} off` and `crm-sync clearing {crm} on`'
            )
    return replace(found, keeps_records=keeps_records)


async def _find(database: Database, crm: str, names: Collection[str]) -> Clearing:
    places = {row["name"]: row["place"] for row in await database.fetch(query("find_field_bits"), crm, list(names))}
    restarts = -places.pop("", 0)
    return Clearing(crm, {name: 1 << place for name, place in places.items()}, f"{restarts}: " if restarts else "")


class SentNotes:
    """Of one CRM: records in the rows what is about to be sent. Every method raises what Database.fetch raises."""

    def __init__(self, database: Database, table: LaneTable, clearing: Clearing) -> None:
        self._database = database
        self._on = bool(clearing)
        self._note = render("note_sent_fields", clearing.variables(table)) if self._on else ""

    async def note(self, claimed: Claimed, token: int) -> Claimed:
        """Writes only the rows of which some field is sent for the first time. A contact whose row the application has locked
        goes back in line, because nothing may be sent unrecorded.
        """
        if not self._on:
            return claimed
        new = [one for one in claimed.contacts if one.sent is not None and one.sent.new]
        if not new:
            return claimed
        ids, numbers = [one.id for one in new], [one.sent.new for one in new if one.sent is not None]
        try:
            rows = await self._database.fetch(self._note, ids, numbers, token)
        except RowRefusedError:
            return claimed  # a trigger or constraint refuses the write: the finish reports it
        missing = set(ids) - {row[0] for row in rows}
        if not missing:
            return claimed
        left = [one for one in claimed.contacts if one.id not in missing]
        back = [one._replace(fields={}) for one in claimed.contacts if one.id in missing]
        return claimed._replace(contacts=left, returned=[*claimed.returned, *back])

"""Records of a CRM that several contacts have, as those do whose records were merged there.

Such a record has one address as its own. An update by its id would put the address of whichever contact was flipped last in place
of the others', and back with the next flip. So a contact that shares a record with one of another address is sent without the id:
it is matched by its address, which leads to the record that has it, and changes nobody's.

The table says which records those are, so that it holds over all requests and workers, for the price of one statement a claim,
where any of the claimed contacts has an id. The CRM is not asked.
"""

from collections.abc import Collection, Iterable, Sequence

from crm_sync.core import clearing
from crm_sync.core.outcome import Contact
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable


class SharedRecords:
    """Of one CRM. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable) -> None:
        self._database = database
        self._find = render("find_shared_records", table.variables)

    async def find(self, contacts: Iterable[Contact]) -> frozenset[str]:
        """The ids that these contacts must not be sent with."""
        ids = {contact.remote_id for contact in contacts if contact.remote_id}
        if not ids:
            return frozenset()
        return frozenset(row["remote_id"] for row in await self._database.fetch(self._find, list(ids)))

    async def apart(self, contacts: Sequence[Contact]) -> list[Contact]:
        """These contacts, as they are to be sent."""
        shared = await self.find(contacts)
        return [apart(contact, shared) for contact in contacts]


def apart(contact: Contact, shared: Collection[str]) -> Contact:
    """This contact, as it is to be sent."""
    if contact.remote_id not in shared:
        return contact
    return contact._replace(remote_id=None, sent=clearing.apart(contact.sent))

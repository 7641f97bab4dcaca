"""Records of a CRM that belong to several contacts, for example because their records were merged there.

Such a record has one address. Updates by its id would set it to the address of whichever contact was flipped last, back and
forth. So a contact that shares a record with one of another address is sent without the id: it is matched by its address, which
finds the record with that address, and no address changes. A contact without an address keeps the id: it changes no address.

The table shows which records are shared, so this works across requests and workers. It costs one statement per claim if any of
the claimed contacts has an id. The CRM is not asked.
"""

from collections.abc import Collection, Iterable, Sequence

from crm_sync.core import clearing
from crm_sync.core.outcome import Contact
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable


class SharedRecords:
    """For one CRM. Every method raises as Database.fetch does."""

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
    if contact.remote_id not in shared or not (contact.email or "").strip():
        return contact
    return contact._replace(remote_id=None, sent=clearing.apart(contact.sent))

"""Reads what would be sent for contacts that nobody has claimed."""

from collections.abc import Iterable
from typing import Any

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact
from crm_sync.table.one_contact import NO_CLAIM
from crm_sync.table.unreadable_rows import Reader


async def read_unclaimed(reader: Reader, named: Iterable[tuple[Any, str | None]]) -> dict[Any, Contact]:
    """By id. named: the id of each row, and that of its record. Contacts that were deleted, or whose mapping fails, are left out.

    Raises as Reader.read does.
    """
    asked = [Contact(row, NO_CLAIM, 0, record, None, BEGINNING, {}) for row, record in named]
    found: dict[Any, Contact] = {}
    while asked:
        claimed = await reader.read(asked, NO_CLAIM)
        found |= {contact.id: contact for contact in claimed.contacts}
        # Too large, or too slow, to be read with the others.
        if len(claimed.returned) == len(asked):
            break
        asked = [contact._replace(email=None) for contact in claimed.returned]
    return found
